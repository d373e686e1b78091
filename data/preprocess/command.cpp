#include "data/preprocess/command.h"

#include <charconv>
#include <cstdio>

#include "data/preprocess/compat_facelift.h"
#include "data/preprocess/rig.h"
#include "data/progress.h"
#include "data/recording.h"
#include "runtime/log.h"

namespace mfl::data::preprocess {
namespace {

template <class T>
std::vector<T> numbers(const std::string& list, const char* option) {
  std::vector<T> out;
  for (const char *at = list.data(), *end = at + list.size(); at < end;) {
    T v{};
    const auto [stop, error] = std::from_chars(at, end, v);
    if (error != std::errc{} || (stop != end && *stop != ','))
      throw_error<ConfigError>(option, " must be numbers with commas between, got \"", list, '"');
    out.push_back(v);
    at = stop == end ? end : stop + 1;
  }
  return out;
}

}  // namespace

void run(const Arguments& a) {
  Options o = a.options;
  if (a.split == "time")
    o.split = SplitMode::time;
  else if (a.split == "random")
    o.split = SplitMode::random;
  else
    throw_error<ConfigError>("--split must be time or random, got \"", a.split, '"');
  if (a.aim == "center")
    o.aim = Aim::center;
  else if (a.aim == "keep")
    o.aim = Aim::keep;
  else
    throw_error<ConfigError>("--aim must be center or keep, got \"", a.aim, '"');
  if (a.center == "centroids")
    o.center = Center::centroids;
  else if (a.center == "hull")
    o.center = Center::hull;
  else if (a.center == "sequence")
    o.center = Center::sequence;
  else {
    const std::vector<double> c =
        a.center.find(',') == a.center.npos ? std::vector<double>{} : numbers<double>(a.center, "--center");
    if (c.size() != 3)
      throw_error<ConfigError>(
          "--center must be centroids, hull, sequence, or a point X,Y,Z in the recording's unit, got \"", a.center,
          '"');
    o.center = Center::fixed, o.fixed_center = {c[0], c[1], c[2]};
  }
  if (a.compat == "facelift")
    o.compat_facelift = true;
  else if (!a.compat.empty())
    throw_error<ConfigError>("--compat can only be facelift, got \"", a.compat, '"');
  if (const auto v = numbers<int>(a.views, "--views"); v.size() == 1 && v[0] > 1)
    for (int k = 0; k < v[0]; ++k) o.views.push_back(k);  // a count
  else
    o.views = v;
  o.jumps = numbers<std::int64_t>(a.jumps, "--jumps");

  Progress progress(text("preprocess"));
  o.progress = [&](std::int64_t done, std::int64_t total, std::int64_t already) {
    progress.show(done, total, already);
  };
  if (o.compat_facelift) {
    std::vector<RawCamera> cameras = open_recording(o.video_dir, o.meta_dir).cameras;
    log_warning(compat_report(cameras, o.image_size));
  }
  const Result r = run(o);

  std::int64_t count[3] = {};
  for (const PlannedFrame& f : r.plan.frames) ++count[static_cast<int>(f.split)];
  std::printf("%s: %lld samples (%lld new, %lld from an earlier run, %zu left out)\n",
              (o.output_dir.empty() ? o.pack : o.output_dir).c_str(), static_cast<long long>(r.written + r.already),
              static_cast<long long>(r.written), static_cast<long long>(r.already), r.left_out.size());
  std::printf(
      "  split        train %lld, val %lld, test %lld; %lld in the guard gaps; a validation frame is %.2f s from "
      "training in the median\n",
      static_cast<long long>(count[0]), static_cast<long long>(count[1]), static_cast<long long>(count[2]),
      static_cast<long long>(r.plan.guarded), r.plan.distance_seconds);
  if (o.compat_facelift) return;
  std::printf("  ring         views in clockwise order:");
  for (int k : r.ring_order) std::printf(" %d", k);
  std::printf("\n  prompts     ");
  for (std::size_t v = 0; v < r.prompt_slot.size(); ++v)
    if (r.prompt_slot[v] >= 0)
      std::printf(" view %zu %s (%.0f deg off)%s", v, kSlotNames[r.prompt_slot[v]],
                  static_cast<double>(r.slot_error[v]), v + 1 < r.prompt_slot.size() ? "," : "");
  std::printf("\n");
  if (r.written) {
    std::printf("  animal       the centroid rays miss each other by %.2f of the recording's units; it covers %.2f %% of a view",
                r.centroid_miss, 100 * r.foreground);
    if (!o.allow_clipped) std::printf("; --zoom %.2f is the largest that cuts none of these", r.largest_zoom);
    std::printf("\n");
  }
  if (o.split == SplitMode::random && r.plan.distance_seconds < 1)
    log_warning("--split random puts neighbouring frames into training and validation (", r.plan.distance_seconds,
                " s apart in the median): validation figures will look better than they are. --split time does not");
}

}  // namespace mfl::data::preprocess
