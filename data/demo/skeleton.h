// The mouse's bones, at rest and walking. At rest the animal stands along +x, z up, its chest at x = 0, feet on z = 0; y is
// its left. Lengths in millimetres of an animal of size 1.
//
// A pose follows the walk: the spine and the tail lie on the way that the chest has gone, so that a turn bends them; feet
// stand still on the floor while they carry (a lateral-sequence walk) and are reached by two-bone inverse kinematics.
#pragma once

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "data/demo/walk.h"

namespace mfl::data::demo {

inline constexpr int kTailBones = 14;
enum Leg { left_hind, left_fore, right_hind, right_fore };
enum Bone : int { pelvis, loin, thorax, neck, head, tail, legs = tail + kTailBones, kBones = legs + 12 };
// upper, lower and foot of a leg
constexpr int bone_of(Leg leg, int part) { return legs + 3 * leg + part; }

inline constexpr V kNose{45.5, 0, 13.6}, kEye{34.6, 6.3, 20.6}, kEar{25.5, 9.2, 27};   // at rest; left side

struct Pose {
  std::array<Frame, kBones> bones;
  // The lengths that the mesh is built on; the same in every pose.
  std::array<double, kBones> lengths{};
  double heading = 0;                                    // of the chest
  std::vector<std::pair<std::string, V>> keypoints() const;   // in the space of the pose
};

Pose rest_pose();
// `seconds` into the walk; `size` scales the animal (1 is 78 mm from nose to rump); `seed` moves head and tail.
Pose pose_at(const Walk&, double seconds, double size, std::uint64_t seed);

}  // namespace mfl::data::demo
