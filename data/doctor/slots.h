// The six prompts of the multi-view diffusion stage say "front", "front_right", "right", "back", "left", "front_left":
// azimuths 0, -45, -90, 180, +90, +45 degrees from the front view. Does camera k stand where its prompt says?
#pragma once

#include <array>
#include <vector>

#include "data/doctor/rig.h"

namespace mfl::data::doctor {

inline constexpr std::array<double, 6> kSlotAzimuth{0, -45, -90, 180, 90, 45};
inline constexpr std::array<const char*, 6> kSlotName{"front", "front_right", "right", "back", "left", "front_left"};

struct SlotTable {
  bool assigned = false;            // the file assigns slots; else camera k is taken to be in slot k
  std::array<int, 6> camera{};      // of each slot
  std::array<double, 6> azimuth{};  // of that camera from the front camera, degrees
  std::array<double, 6> error{};    // degrees
  double largest = 0, mean = 0;
  std::array<int, 6> best_camera{};  // same front camera, the order with the least sum of squared errors
  std::array<double, 6> best_error{};
  double best_largest = 0, best_mean = 0;
};
// Nothing unless the sample has exactly six views.
std::optional<SlotTable> examine_slots(const Subject&, const RigTable&);
Findings check_slots(const Subject&, const std::optional<SlotTable>&);  // a recording has no slots yet: a note

}  // namespace mfl::data::doctor
