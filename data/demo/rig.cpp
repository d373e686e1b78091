#include "data/demo/rig.h"

#include <algorithm>
#include <numbers>

#include "runtime/rng.h"

namespace mfl::data::demo {

std::vector<RawCamera> make_rig(int width, int height, std::uint64_t seed) {
  // Azimuth and elevation in degrees, distance in mm from the point that the cameras look at. Not in ring order.
  struct Stand {
    double azimuth, elevation, distance;
  };
  static constexpr Stand kStands[] = {{-146, 8, 316}, {33, 23, 352}, {97, 10, 338}, {-24, 9, 330}, {158, 20, 322}, {-79, 25, 334}};
  const double deg = std::numbers::pi / 180;
  std::vector<RawCamera> rig;
  for (std::uint32_t k = 0; k < 6; ++k) {
    Rng rng(seed, Draw::scene, 4, k);
    const auto about = [&](double middle, double spread) { return middle + rng.uniform(-spread, spread); };
    const double a = deg * about(kStands[k].azimuth, 3), e = deg * about(kStands[k].elevation, 1.5), d = about(kStands[k].distance, 10);
    const V target = kArenaCentre + V{about(0, 4), about(0, 4), about(14, 3)};
    const V eye = target + d * V{std::cos(e) * std::cos(a), std::cos(e) * std::sin(a), std::sin(e)};
    const V forward = unit(target - eye), level = unit(cross(forward, V{0, 0, 1}));
    const double roll = deg * about(0, 2);
    const V right = std::cos(roll) * level + std::sin(roll) * cross(forward, level), down = cross(forward, right);
    RawCamera c;
    c.width = width, c.height = height;
    // 1.4 times the shorter side: the whole arena is seen, and the animal fills what it fills in real recordings.
    const double side = std::min(width, height), fx = 1.4 * side * about(1, 0.02);
    c.K = {fx, about(-2, 3) * side / 1024, width / 2.0 - 0.5 + about(0, 0.035) * side, 0, fx * about(1.006, 0.005),
           height / 2.0 - 0.5 + about(-0.02, 0.03) * side, 0, 0, 1};
    c.R = {right.x, right.y, right.z, down.x, down.y, down.z, forward.x, forward.y, forward.z};
    c.T = {-dot(right, eye), -dot(down, eye), -dot(forward, eye)};
    rig.push_back(c);
  }
  return rig;
}

V ray_direction(const RawCamera& c, double u, double v) {
  const double y = (v - c.K[5]) / c.K[4], x = (u - c.K[2] - c.K[1] * y) / c.K[0];
  return unit(V{c.R[0] * x + c.R[3] * y + c.R[6], c.R[1] * x + c.R[4] * y + c.R[7], c.R[2] * x + c.R[5] * y + c.R[8]});
}

}  // namespace mfl::data::demo
