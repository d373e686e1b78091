#include "data/demo/skeleton.h"

#include <algorithm>
#include <numbers>

#include "data/demo/noise.h"
#include "runtime/rng.h"

namespace mfl::data::demo {
namespace {

// Where the spine's joints are at rest: x along the animal, z above the floor.
constexpr std::array<std::array<double, 2>, 5> kSpine{{{-37, 15.5}, {-21, 18.5}, {-5, 19}, {12, 17}, {22, 18}}};
constexpr double kTailLength = 70, kStride = 40, kCarry = 0.62, kLift = 5;
constexpr V kTailTip{0, 0, 3.2};

struct Limb {
  V hip, ankle, toe;       // at rest; left side
  double upper, lower, bend, phase;   // bend: the knee points forward (+1), the elbow backward (-1)
};
Limb limb(Leg leg) {
  const bool hind = leg == left_hind || leg == right_hind;
  Limb l = hind ? Limb{{-22, 9, 15}, {-27, 10.5, 3.2}, {-14.5, 11.5, 1.3}, 11.5, 11, 1, 0}
                : Limb{{8, 6.5, 12.5}, {8.5, 8, 2.4}, {14, 8.5, 1.2}, 8.2, 8.6, -1, 0.25};
  if (leg == right_hind || leg == right_fore) {
    for (V* p : {&l.hip, &l.ankle, &l.toe}) p->y = -p->y;
    l.phase += 0.5;
  }
  return l;
}

// Bones of a leg from hip, ankle and toe; an ankle out of reach is brought to the reach.
void set_leg(Pose& pose, Leg leg, V hip, V ankle, V toe, V forward, V left, double size) {
  const Limb l = limb(leg);
  const double a = size * l.upper, b = size * l.lower;
  V reach = ankle - hip;
  double d = length(reach);
  const double most = 0.985 * (a + b);
  if (d > most) {
    const V moved = hip + (most / d) * reach;
    toe = toe + moved - ankle, ankle = moved, reach = ankle - hip, d = most;
  }
  const V along = (1 / d) * reach;
  const V pole = unit(l.bend * forward - dot(l.bend * forward, along) * along);
  const double x = (a * a - b * b + d * d) / (2 * d);
  const V knee = hip + x * along + std::sqrt(std::max(0.0, a * a - x * x)) * pole;
  pose.bones[static_cast<std::size_t>(bone_of(leg, 0))] = frame_along(hip, knee, left);
  pose.bones[static_cast<std::size_t>(bone_of(leg, 1))] = frame_along(knee, ankle, left);
  pose.bones[static_cast<std::size_t>(bone_of(leg, 2))] = frame_along(ankle, toe, left);
}

Pose with_lengths() {
  Pose pose;
  auto& n = pose.lengths;
  for (std::size_t i = 0; i + 1 < kSpine.size(); ++i) n[i] = std::hypot(kSpine[i + 1][0] - kSpine[i][0], kSpine[i + 1][1] - kSpine[i][1]);
  n[head] = kNose.x - kSpine[4][0];
  for (int i = 0; i < kTailBones; ++i) n[static_cast<std::size_t>(tail + i)] = kTailLength / kTailBones;
  for (const Leg leg : {left_hind, left_fore, right_hind, right_fore}) {
    const Limb l = limb(leg);
    n[static_cast<std::size_t>(bone_of(leg, 0))] = l.upper;
    n[static_cast<std::size_t>(bone_of(leg, 1))] = l.lower;
    n[static_cast<std::size_t>(bone_of(leg, 2))] = length(l.toe - l.ankle);
  }
  return pose;
}

}  // namespace

Pose rest_pose() {
  Pose pose = with_lengths();
  const V left{0, 1, 0}, forward{1, 0, 0};
  const auto joint = [](std::size_t i) { return V{kSpine[i][0], 0, kSpine[i][1]}; };
  for (std::size_t i = 0; i + 1 < kSpine.size(); ++i) pose.bones[i] = frame_along(joint(i), joint(i + 1), left);
  pose.bones[head] = frame_along(joint(4), joint(4) + forward, left);
  V at = joint(0);
  for (int i = 0; i < kTailBones; ++i) {
    const V next = at + V{-kTailLength / kTailBones, 0, (kTailTip.z - kSpine[0][1]) / kTailBones};
    // A tail bone's x axis points backwards; its y axis is the animal's right.
    pose.bones[static_cast<std::size_t>(tail + i)] = frame_along(at, next, -1 * left);
    at = next;
  }
  for (const Leg leg : {left_hind, left_fore, right_hind, right_fore}) {
    const Limb l = limb(leg);
    set_leg(pose, leg, l.hip, l.ankle, l.toe, forward, left, 1);
  }
  return pose;
}

Pose pose_at(const Walk& walk, double seconds, double size, std::uint64_t seed) {
  Rng rng(seed, Draw::scene, 2);
  const std::uint32_t turn = rng.bits(), nod = rng.bits(), swish = rng.bits(), lift = rng.bits();
  Pose pose = with_lengths();
  for (double& l : pose.lengths) l *= size;
  const double arc = walk.travelled(seconds), gait = 2 * std::numbers::pi * arc / (size * kStride);
  pose.heading = walk.at(arc).heading;

  // The spine, with the bob of the trunk at twice the stride and its sway at the stride.
  const auto on_spine = [&](double x, double z, double y = 0) {
    const Walk::Place p = walk.at(arc + size * x);
    const double sway = size * 1.1 * std::sin(gait + 0.05 * x);
    return p.point + (size * y + sway) * p.left() + V{0, 0, size * (z + 0.5 * std::sin(2 * gait + 0.06 * x))};
  };
  for (std::size_t i = 0; i + 1 < kSpine.size(); ++i)
    pose.bones[i] = frame_along(on_spine(kSpine[i][0], kSpine[i][1]), on_spine(kSpine[i + 1][0], kSpine[i + 1][1]),
                                walk.at(arc + size * kSpine[i][0]).left());
  // The head: carried at the neck, looking where the way goes and around.
  const V skull = on_spine(kSpine[4][0], kSpine[4][1] + 2 * noise(0.9 * seconds, lift));
  const double yaw = walk.at(arc + size * 30).heading + 0.6 * noise(1.1 * seconds, turn), pitch = -0.05 + 0.3 * noise(0.7 * seconds, nod);
  const V look{std::cos(pitch) * std::cos(yaw), std::cos(pitch) * std::sin(yaw), std::sin(pitch)};
  pose.bones[head] = frame_along(skull, skull + look, V{-std::sin(yaw), std::cos(yaw), 0.12 * noise(0.8 * seconds, nod + 1)});
  pose.bones[neck] = frame_along(pose.bones[neck].origin, skull, pose.bones[neck].y);

  // The tail drags behind on the way of the body, swinging wider towards its tip.
  V at = on_spine(kSpine[0][0], kSpine[0][1]);
  for (int i = 0; i < kTailBones; ++i) {
    const double t = (i + 1.0) / kTailBones, x = kSpine[0][0] - kTailLength * t;
    const Walk::Place p = walk.at(arc + size * x);
    const double swing = 15 * t * t * std::sin(0.5 * gait - 3 * t + 2 * noise(0.6 * seconds, swish)) + 9 * t * noise(0.7 * seconds - t, swish + 1);
    const double height = (1 - t) * (1 - t) * kSpine[0][1] + (1 - (1 - t) * (1 - t)) * (kTailTip.z + 3 * t * (1 + noise(0.5 * seconds, swish + 2)));
    const V aim = p.point + size * swing * p.left() + V{0, 0, size * height};
    const auto bone = static_cast<std::size_t>(tail + i);
    pose.bones[bone] = frame_along(at, aim, -1 * p.left());
    at = pose.bones[bone]({pose.lengths[bone], 0, 0});
  }

  for (const Leg leg : {left_hind, left_fore, right_hind, right_fore}) {
    const Limb l = limb(leg);
    const double stride = size * kStride, phase = arc / stride + l.phase, step = std::floor(phase), f = phase - step;
    // Where the foot stands in step k: beside the way, below the hip at the middle of the time that it carries.
    const auto stand = [&](double k) { return walk.at((k - l.phase + kCarry / 2) * stride + size * l.ankle.x); };
    Walk::Place foot = stand(step);
    double up = 0;
    if (f > kCarry) {
      const double u = (f - kCarry) / (1 - kCarry), t = smooth(0, 1, u);
      const Walk::Place next = stand(step + 1);
      foot = {lerp(foot.point, next.point, t), (1 - t) * foot.heading + t * next.heading};
      up = size * kLift * std::sin(std::numbers::pi * u);
    }
    const V ankle = foot.point + size * l.ankle.y * foot.left() + V{0, 0, size * l.ankle.z + up};
    const V reach = size * (l.toe - l.ankle);
    const V toe = ankle + reach.x * foot.forward() + reach.y * foot.left() + V{0, 0, reach.z - 0.35 * up};
    const Walk::Place hip = walk.at(arc + size * l.hip.x);
    set_leg(pose, leg, on_spine(l.hip.x, l.hip.z, l.hip.y), ankle, toe, hip.forward(), hip.left(), size);
  }
  return pose;
}

std::vector<std::pair<std::string, V>> Pose::keypoints() const {
  const Pose rest = rest_pose();
  const double size = lengths[0] / rest.lengths[0];
  const auto on_head = [&](V p) { return bones[head](size * rest.bones[head].back(p)); };
  const auto mirrored = [](V p) { return V{p.x, -p.y, p.z}; };
  const auto end = [&](int bone) { return bones[static_cast<std::size_t>(bone)]({lengths[static_cast<std::size_t>(bone)], 0, 0}); };
  return {{"nose", on_head(kNose)},
          {"left_eye", on_head(kEye)},
          {"right_eye", on_head(mirrored(kEye))},
          {"left_ear", on_head(kEar)},
          {"right_ear", on_head(mirrored(kEar))},
          {"neck", bones[neck].origin},
          {"spine", bones[thorax].origin},
          {"tail_base", bones[tail].origin},
          {"tail_middle", bones[tail + kTailBones / 2].origin},
          {"tail_tip", end(tail + kTailBones - 1)},
          {"left_fore_paw", end(bone_of(left_fore, 2))},
          {"right_fore_paw", end(bone_of(right_fore, 2))},
          {"left_hind_paw", end(bone_of(left_hind, 2))},
          {"right_hind_paw", end(bone_of(right_hind, 2))}};
}

}  // namespace mfl::data::demo
