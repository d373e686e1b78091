#include "data/doctor/examine.h"

#include <algorithm>
#include <chrono>

#include "runtime/error.h"

namespace mfl::data::doctor {
namespace {

Vec3 middle(const std::vector<Vec3>& points) {
  Vec3 m{};
  for (int k = 0; k < 3; ++k) {
    std::vector<double> v;
    for (const Vec3& p : points) v.push_back(p[k]);
    m[k] = median(v);
  }
  return m;
}

void add(Findings& to, Findings&& from) { std::move(from.begin(), from.end(), std::back_inserter(to)); }

}  // namespace

Examination examine(const Subject& subject, const ExamineOptions& o) {
  const auto start = std::chrono::steady_clock::now();
  Examination e;
  e.findings = subject.problems;
  if (subject.samples.empty()) e.findings.push_back({Severity::error, "there is no readable sample", "", "", "", ""});
  e.geometry = examine_geometry(subject, o);
  // Where the outlines contradict the cameras, their meeting point means nothing.
  const bool trusted = !e.geometry.centres.empty() && e.geometry.worst_iou > 0.5;
  e.rig = examine_rig(subject, trusted ? std::optional(middle(e.geometry.centres)) : std::nullopt);
  e.pixels = examine_pixels(subject);
  if (o.usage) e.slots = examine_slots(subject, e.rig), e.splits = examine_splits(subject);
  add(e.findings, check_rig(subject, e.rig, o.rig));
  add(e.findings, check_geometry(subject, e.geometry));
  add(e.findings, check_pixels(subject, e.pixels));
  add(e.findings, check_slots(subject, e.slots));
  add(e.findings, check_splits(subject, e.splits));
  std::stable_sort(e.findings.begin(), e.findings.end(),
                   [](const Finding& a, const Finding& b) { return a.severity > b.severity; });
  e.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return e;
}

std::string verdict(const Findings& all) {
  const auto count = [&](Severity s) {
    return std::count_if(all.begin(), all.end(), [&](const Finding& f) { return f.severity == s; });
  };
  const auto plural = [](auto n, const char* word) { return text(n, ' ', word, n == 1 ? "" : "s"); };
  if (const auto errors = count(Severity::error)) return "unsound: " + plural(errors, "error");
  if (const auto warnings = count(Severity::warning)) return "sound, with " + plural(warnings, "warning");
  return "sound";
}

Findings quick_check(const ViewReader& reader, const RigExpectations& rig) {
  SubjectOptions few;
  few.samples = 3;
  ExamineOptions o;
  o.rig = rig;
  o.hulls = 1;
  o.usage = false;
  o.hull = {.pixels_a_view = 300, .max_steps = 150};
  return examine(subject_of(reader, few), o).findings;
}

}  // namespace mfl::data::doctor
