// The arena: a round floor of bedding with a rim, on a bench, before a curtain. Seen by fixed cameras, so that its picture
// is made once a camera; a frame only darkens it where the animal stands in the light.
#pragma once

#include <cstdint>
#include <vector>

#include "data/demo/lighting.h"
#include "data/recording.h"

namespace mfl::data::demo {

inline constexpr double kArenaRadius = 165;   // mm

// A linear RGB picture, row-major.
struct Picture {
  int width = 0, height = 0;
  std::vector<float> rgb;
};
Picture picture_of_arena(const RawCamera&, const Lighting&, std::uint64_t seed);

// How much of the floor's light is left near the animal, on a lattice that covers its shadow.
class FloorShadow {
 public:
  FloorShadow(const Lighting&, const std::vector<V>& caster);
  V left_over(V floor_point) const;           // linear RGB, 1 in full light
  // The box outside which left_over is 1.
  V low() const { return low_; }
  V high() const { return high_; }

 private:
  V low_, high_;
  int width_ = 0, height_ = 0;
  std::vector<float> rgb_;
};

}  // namespace mfl::data::demo
