#include "data/doctor/splits.h"

#include <algorithm>

#include "runtime/error.h"

namespace mfl::data::doctor {

SplitTable examine_splits(const Subject& subject) {
  SplitTable t;
  if (subject.kind == SubjectKind::recording) return t;
  std::map<std::string, std::vector<const SampleRecord*>> same;
  std::vector<std::int64_t> training;
  std::vector<std::pair<std::int64_t, bool>> in_time;  // raw frame, in training
  for (const SampleRecord& s : subject.samples) {
    ++t.samples[s.split];
    if (!s.fingerprint.empty()) same[s.fingerprint].push_back(&s);
    if (s.split == Split::train && s.raw_frame >= 0) training.push_back(s.raw_frame);
    if (s.raw_frame >= 0) in_time.emplace_back(s.raw_frame, s.split == Split::train);
  }
  const auto held_out = [](const SampleRecord& s) { return s.split == Split::val || s.split == Split::test; };
  for (const auto& [print, group] : same) {
    const std::int64_t in_training =
        std::count_if(group.begin(), group.end(), [](const SampleRecord* s) { return s->split == Split::train; });
    const std::int64_t out =
        std::count_if(group.begin(), group.end(), [&](const SampleRecord* s) { return held_out(*s); });
    if (in_training && out) {
      t.shared += out;
    } else if (group.size() > 1) {
      t.duplicates += static_cast<std::int64_t>(group.size()) - 1;
    }
    if (group.size() > 1 && (t.example.empty() || (in_training && out)))
      t.example = text(group[0]->name, " and ", group[1]->name);
  }
  std::sort(training.begin(), training.end());
  std::sort(in_time.begin(), in_time.end());
  if (!training.empty())
    for (const SampleRecord& s : subject.samples) {
      if (!held_out(s) || s.raw_frame < 0) continue;
      const auto after = std::lower_bound(training.begin(), training.end(), s.raw_frame);
      std::int64_t distance = after == training.end() ? INT64_MAX : *after - s.raw_frame;
      if (after != training.begin()) distance = std::min(distance, s.raw_frame - *std::prev(after));
      t.nearest = t.nearest < 0 ? distance : std::min(t.nearest, distance);
    }
  std::int64_t beside = 0, timed = 0;
  for (std::size_t i = 0; i < in_time.size(); ++i)
    if (!in_time[i].second)
      ++timed, beside += (i > 0 && in_time[i - 1].second) || (i + 1 < in_time.size() && in_time[i + 1].second);
  t.mixed = timed > 2 ? static_cast<double>(beside) / static_cast<double>(timed) : 0;
  return t;
}

Findings check_splits(const Subject& subject, const SplitTable& t) {
  Findings out;
  if (t.shared)
    out.push_back({Severity::warning, "samples are both in training and in validation or test",
                   text(t.shared, " samples, such as ", t.example), "disjoint splits", "",
                   "A score on samples that were trained on says nothing"});
  if (t.duplicates)
    out.push_back({Severity::warning, "samples with equal pixels", text(t.duplicates, " samples, such as ", t.example),
                   "different samples", "", "Leave the copies out"});
  if (t.mixed > 0.5 && t.nearest >= 0)
    out.push_back({Severity::warning, "validation frames have near-copies in training: the split is random in time", "",
                   "blocks of time with a gap of a second between them",
                   text(static_cast<int>(100 * t.mixed + 0.5),
                        " % of them beside a training frame in time, the nearest ", t.nearest, " frames away"),
                   "mfl_data preprocess --split time"});
  else if (t.nearest >= 0 && t.nearest < 50 && subject.total > 100)
    out.push_back({Severity::note, "few frames between training and validation", "", "50 or more, a second of most recordings",
                   text(t.nearest, " frames"), ""});
  return out;
}

}  // namespace mfl::data::doctor
