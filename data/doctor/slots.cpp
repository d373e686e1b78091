#include "data/doctor/slots.h"

#include <algorithm>
#include <numeric>

#include "runtime/error.h"

namespace mfl::data::doctor {
namespace {

double wrapped(double a) { return a - 360 * std::round(a / 360); }

struct Fit {
  std::array<double, 6> azimuth{}, error{};
  double largest = 0, mean = 0, squares = 0;
};
Fit fit(const RigTable& rig, const std::array<int, 6>& camera) {
  Fit f;
  const auto azimuth = [&](int c) { return rig.rows[static_cast<std::size_t>(c)].from_scene.azimuth; };
  for (std::size_t s = 0; s < 6; ++s) {
    f.azimuth[s] = wrapped(azimuth(camera[s]) - azimuth(camera[0]));
    f.error[s] = std::abs(wrapped(f.azimuth[s] - kSlotAzimuth[s]));
    f.largest = std::max(f.largest, f.error[s]), f.mean += f.error[s] / 6, f.squares += f.error[s] * f.error[s];
  }
  return f;
}

}  // namespace

std::optional<SlotTable> examine_slots(const Subject& subject, const RigTable& rig) {
  if (rig.rows.size() != 6 || subject.samples.empty()) return {};
  SlotTable t;
  std::iota(t.camera.begin(), t.camera.end(), 0);
  const std::vector<ViewRecord>& views =
      subject.samples[subject.examined.empty() ? 0 : subject.examined[0].sample].views;
  std::array<int, 6> taken{-1, -1, -1, -1, -1, -1};
  for (std::size_t v = 0; v < 6; ++v)
    if (views[v].prompt_slot >= 0 && views[v].prompt_slot < 6)
      taken[static_cast<std::size_t>(views[v].prompt_slot)] = static_cast<int>(v);
  if (std::none_of(taken.begin(), taken.end(), [](int c) { return c < 0; })) t.assigned = true, t.camera = taken;
  const Fit now = fit(rig, t.camera);
  t.azimuth = now.azimuth, t.error = now.error, t.largest = now.largest, t.mean = now.mean;
  std::array<int, 6> order{};
  std::iota(order.begin(), order.end(), 0);
  double least = 1e300;
  do {
    if (order[0] != t.camera[0]) continue;
    if (const Fit f = fit(rig, order); f.squares < least)
      least = f.squares, t.best_camera = order, t.best_error = f.error, t.best_largest = f.largest,
      t.best_mean = f.mean;
  } while (std::next_permutation(order.begin(), order.end()));
  return t;
}

Findings check_slots(const Subject& subject, const std::optional<SlotTable>& t) {
  if (!t || t->largest <= 45 || t->largest <= t->best_largest + 10) return {};
  const std::size_t worst =
      static_cast<std::size_t>(std::max_element(t->error.begin(), t->error.end()) - t->error.begin());
  std::string order;
  for (int c : t->best_camera) order += text(order.empty() ? "" : ", ", c);
  return {{subject.kind == SubjectKind::recording ? Severity::note : Severity::warning,
           t->assigned ? "cameras stand elsewhere than their prompts say"
                       : "camera k in prompt slot k: cameras stand elsewhere than the prompts say",
           text("camera ", t->camera[worst], " as \"", kSlotName[worst], '"'),
           text("at most ", static_cast<int>(t->best_largest + 0.5), " degrees off"),
           text("up to ", static_cast<int>(t->largest + 0.5), " degrees off, ", static_cast<int>(t->mean + 0.5),
                " on average"),
           text("For multi-view diffusion assign the cameras ", order, " to the six slots (largest error ",
                static_cast<int>(t->best_largest + 0.5), " degrees)")}};
}

}  // namespace mfl::data::doctor
