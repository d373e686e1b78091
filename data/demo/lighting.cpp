#include "data/demo/lighting.h"

#include <algorithm>
#include <numbers>

namespace mfl::data::demo {
namespace {

constexpr int kSun = 9, kSky = 28;
constexpr V kSunColour{1.15, 1.06, 0.93}, kSkyColour{0.62, 0.68, 0.78}, kHorizonColour{0.56, 0.55, 0.54}, kFloorLight{0.15, 0.14, 0.12};
constexpr double kGolden = 2.399963229728653;   // radians: points of a spiral that covers evenly
constexpr float kEmpty = -1e9f;

}  // namespace

Lighting::Lighting() : sun_(unit(V{0.36, -0.52, 0.95})) {
  const V across = unit(cross(V{0, 0, 1}, sun_)), up = cross(sun_, across);
  const auto add = [&](V to, V colour, bool sky) {
    Direction d;
    d.to_light = to, d.colour = colour, d.sky = sky;
    d.across = unit(cross(std::abs(to.z) > 0.99 ? V{1, 0, 0} : V{0, 0, 1}, to));
    d.up = cross(to, d.across);
    directions_.push_back(std::move(d));
  };
  for (int i = 0; i < kSun; ++i) {
    const double r = 0.075 * std::sqrt((i + 0.5) / kSun), a = kGolden * i;
    add(unit(sun_ + r * (std::cos(a) * across + std::sin(a) * up)), (1.0 / kSun) * kSunColour, false);
  }
  // Uniform over the hemisphere; a level surface receives sum 2 z / n = 1 of the sky's colour.
  for (int i = 0; i < kSky; ++i) {
    const double z = (i + 0.5) / kSky, r = std::sqrt(1 - z * z), a = kGolden * i;
    add({r * std::cos(a), r * std::sin(a), z}, (2.0 / kSky) * lerp(kHorizonColour, kSkyColour, z), true);
  }
}

void Lighting::set_caster(const std::vector<V>& points) {
#pragma omp parallel for schedule(dynamic)
  for (Direction& d : directions_) {
    double left = 1e9, right = -1e9, low = 1e9, high = -1e9;
    for (const V& p : points) {
      const double x = dot(p, d.across), y = dot(p, d.up);
      left = std::min(left, x), right = std::max(right, x), low = std::min(low, y), high = std::max(high, y);
    }
    d.left = left - 2 * kTexel, d.low = low - 2 * kTexel;
    d.width = static_cast<int>((right - d.left) / kTexel) + 4, d.height = static_cast<int>((high - d.low) / kTexel) + 4;
    d.depth.assign(static_cast<std::size_t>(d.width) * d.height, kEmpty);
    for (const V& p : points) {
      const auto x = static_cast<int>((dot(p, d.across) - d.left) / kTexel), y = static_cast<int>((dot(p, d.up) - d.low) / kTexel);
      float& texel = d.depth[static_cast<std::size_t>(y) * d.width + x];
      texel = std::max(texel, static_cast<float>(dot(p, d.to_light)));
    }
  }
}

double Lighting::seen(const Direction& d, V point, double bias) const {
  const double x = (dot(point, d.across) - d.left) / kTexel - 0.5, y = (dot(point, d.up) - d.low) / kTexel - 0.5;
  if (!(x >= 0 && y >= 0 && x < d.width - 1 && y < d.height - 1)) return 1;
  const auto ix = static_cast<int>(x), iy = static_cast<int>(y);
  const double fx = x - ix, fy = y - iy;
  const auto limit = static_cast<float>(dot(point, d.to_light) + bias);
  const float* t = d.depth.data() + static_cast<std::size_t>(iy) * d.width + ix;
  const auto open = [&](const float* texel) { return *texel > limit ? 0.0 : 1.0; };
  return (1 - fy) * ((1 - fx) * open(t) + fx * open(t + 1)) + fy * ((1 - fx) * open(t + d.width) + fx * open(t + d.width + 1));
}

V Lighting::arriving(V point, V normal, double bias) const {
  V sum = (0.5 - 0.5 * normal.z) * kFloorLight;
  for (const Direction& d : directions_) {
    const double facing = dot(normal, d.to_light);
    if (facing > 0) sum = sum + (facing * seen(d, point, bias)) * d.colour;
  }
  return sum;
}

V Lighting::unshadowed(V normal) const {
  V sum = (0.5 - 0.5 * normal.z) * kFloorLight;
  for (const Direction& d : directions_) sum = sum + std::max(0.0, dot(normal, d.to_light)) * d.colour;
  return sum;
}

}  // namespace mfl::data::demo
