#include "data/preprocess/frame_plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "runtime/rng.h"

namespace mfl::data::preprocess {

FramePlan plan_frames(const FramePlanOptions& o) {
  if (o.num_samples < 1) throw_error<ConfigError>("--num_samples must be at least 1, got ", o.num_samples);
  if (o.interval < 0) throw_error<ConfigError>("--interval must be at least 1, got ", o.interval);
  if (!(o.val_ratio >= 0 && o.test_ratio >= 0 && o.val_ratio + o.test_ratio < 1))
    throw_error<ConfigError>("--val_ratio ", o.val_ratio, " and --test_ratio ", o.test_ratio,
                             " must not be negative and must leave a part for training");
  if (!(o.guard_seconds >= 0)) throw_error<ConfigError>("--guard must not be negative, got ", o.guard_seconds, " s");

  std::vector<std::int64_t> chosen;
  if (o.interval) {
    for (std::int64_t f = 0; f < o.frames && static_cast<std::int64_t>(chosen.size()) < o.num_samples; f += o.interval)
      chosen.push_back(f);
  } else {
    const std::int64_t n = std::min(o.num_samples, o.frames);
    for (std::int64_t i = 0; i < n; ++i) chosen.push_back(i * o.frames / n);
  }
  const std::int64_t n = static_cast<std::int64_t>(chosen.size());
  const auto share = [&](double ratio) {
    return ratio > 0 ? std::max<std::int64_t>(1, std::llround(ratio * static_cast<double>(n))) : 0;
  };
  const std::int64_t val = share(o.val_ratio), test = share(o.test_ratio), train = n - val - test;
  if (train < 1)
    throw_error<ConfigError>(n, " samples leave none for training beside ", val, " for validation and ", test,
                             " for test; take more samples or smaller ratios");

  FramePlan plan;
  if (o.split == SplitMode::random) {
    // A permutation: sorted by a draw of each sample.
    std::vector<std::pair<std::uint32_t, std::int64_t>> order;
    const Rng rng(o.seed, Draw::sample_order);
    for (std::int64_t i = 0; i < n; ++i) order.emplace_back(rng.bits_at(static_cast<std::uint64_t>(i)), i);
    std::sort(order.begin(), order.end());
    std::vector<Split> split(static_cast<std::size_t>(n), Split::train);
    for (std::int64_t i = 0; i < val + test; ++i)
      split[static_cast<std::size_t>(order[static_cast<std::size_t>(i)].second)] = i < val ? Split::val : Split::test;
    for (std::int64_t i = 0; i < n; ++i)
      plan.frames.push_back({chosen[static_cast<std::size_t>(i)], split[static_cast<std::size_t>(i)]});
  } else {
    // A block loses the frames that are within the guard before the next block begins.
    const double guard = o.guard_seconds * o.frames_per_second;
    const std::int64_t first_val = train, first_test = train + val;
    for (std::int64_t i = 0; i < n; ++i) {
      const Split split = i < first_val ? Split::train : i < first_test ? Split::val : Split::test;
      const std::int64_t next = split == Split::train ? first_val : split == Split::val ? first_test : n;
      const std::int64_t f = chosen[static_cast<std::size_t>(i)];
      if (next < n && static_cast<double>(chosen[static_cast<std::size_t>(next)] - f) < guard)
        ++plan.guarded;
      else
        plan.frames.push_back({f, split});
    }
  }
  std::vector<std::int64_t> training;
  for (const PlannedFrame& f : plan.frames)
    if (f.split == Split::train) training.push_back(f.raw_frame);
  std::vector<std::int64_t> distance;
  for (const Split split : {Split::train, Split::val, Split::test}) {
    const std::int64_t wanted = split == Split::train ? train : split == Split::val ? val : test;
    if (wanted > 0 &&
        std::none_of(plan.frames.begin(), plan.frames.end(), [&](const PlannedFrame& f) { return f.split == split; }))
      throw_error<ConfigError>("the guard of ", o.guard_seconds, " s between the blocks leaves no sample for ",
                               name_of(split), " in a recording of ",
                               static_cast<double>(o.frames) / o.frames_per_second,
                               " s; set a smaller --guard or other ratios");
  }
  for (const PlannedFrame& f : plan.frames)
    if (f.split == Split::val) {
      const auto after = std::lower_bound(training.begin(), training.end(), f.raw_frame);
      std::int64_t d = o.frames;
      if (after != training.end()) d = std::min(d, *after - f.raw_frame);
      if (after != training.begin()) d = std::min(d, f.raw_frame - *(after - 1));
      distance.push_back(d);
    }
  if (!distance.empty()) {
    std::nth_element(distance.begin(), distance.begin() + static_cast<std::ptrdiff_t>(distance.size() / 2),
                     distance.end());
    plan.distance_seconds = static_cast<double>(distance[distance.size() / 2]) / o.frames_per_second;
  }
  return plan;
}

}  // namespace mfl::data::preprocess
