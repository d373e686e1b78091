// Six cameras around the arena, made like the rig that the project's users have: two heights, uneven distances, principal
// points off the centre, a little skew. Lengths in millimetres, OpenCV axes, integer pixel coordinates at pixel centres.
#pragma once

#include <cstdint>
#include <vector>

#include "data/demo/vec.h"
#include "data/recording.h"

namespace mfl::data::demo {

inline constexpr V kArenaCentre{75, 60, 0};   // the rig's origin is not the arena's middle, as in real recordings

std::vector<RawCamera> make_rig(int width, int height, std::uint64_t seed);

// Where the light of a pixel comes from: a unit vector in the world.
V ray_direction(const RawCamera&, double u, double v);

}  // namespace mfl::data::demo
