#include "data/demo/arena.h"

#include <algorithm>

#include "data/demo/noise.h"
#include "data/demo/rig.h"

namespace mfl::data::demo {
namespace {

constexpr double kCell = 1.6;   // mm, of the floor's shadow
constexpr V kUp{0, 0, 1};

// Reflectance of the level ground at p; `blur` (mm) is the width of what one sample sees: finer grain fades out.
V ground(V p, double blur, std::uint32_t seed) {
  const V q = p - kArenaCentre;
  const double r = std::hypot(q.x, q.y);
  const auto grain = [&](double size, std::uint32_t s) { return smooth(1.2 * size, 0.25 * size, blur) * noise(V{q.x / size, q.y / size, 0.5}, seed + s); };
  // Bedding: flakes, crumbs and the dents between them.
  const double flakes = 0.5 * grain(5, 1) + 0.4 * grain(2.2, 2) + 0.35 * grain(1.1, 3), dents = 0.6 * grain(38, 4) + 0.5 * grain(15, 5);
  V c = (1 + 0.20 * flakes + 0.10 * dents) * lerp({0.40, 0.33, 0.235}, {0.47, 0.42, 0.33}, 0.5 + 0.5 * grain(9, 6));
  c = lerp(c, {0.25, 0.17, 0.095}, 0.75 * smooth(0.55, 0.75, grain(3.1, 7)));   // dark crumbs
  const V rim{0.55, 0.57, 0.58}, bench{0.105, 0.115, 0.13};
  c = lerp(c, rim, smooth(kArenaRadius - 4 - blur, kArenaRadius - 4 + blur, r));
  return lerp(c, (1 + 0.1 * grain(60, 8)) * bench, smooth(kArenaRadius - blur, kArenaRadius + blur, r));
}

V curtain(V direction) {
  const double up = direction.z;
  return lerp({0.20, 0.215, 0.24}, {0.30, 0.325, 0.36}, smooth(-0.02, 0.5, up));
}

}  // namespace

Picture picture_of_arena(const RawCamera& camera, const Lighting& light, std::uint64_t seed) {
  Picture out;
  out.width = camera.width, out.height = camera.height;
  out.rgb.resize(static_cast<std::size_t>(out.width) * out.height * 3);
  const Vec3 centre = position(camera);
  const V eye{centre[0], centre[1], centre[2]}, full = light.unshadowed(kUp);
  const auto noise_seed = static_cast<std::uint32_t>(seed * 2654435761u + 17);
#pragma omp parallel for schedule(dynamic, 8)
  for (int y = 0; y < out.height; ++y)
    for (int x = 0; x < out.width; ++x) {
      V sum;
      for (int k = 0; k < 4; ++k) {
        const V d = ray_direction(camera, x - 0.25 + 0.5 * (k & 1), y - 0.25 + 0.5 * (k >> 1));
        const double t = d.z < -1e-6 ? -eye.z / d.z : 1e9;
        if (t > 2500) {
          sum = sum + curtain(d);
          continue;
        }
        const V p = eye + t * d;
        const double away = std::hypot(p.x - kArenaCentre.x, p.y - kArenaCentre.y), blur = 0.5 * t / camera.K[0] / std::sqrt(std::max(-d.z, 0.02));
        // A pool of light, and the bench fades into the curtain.
        const V lit = ((1 - 0.35 * smooth(60, 420, away)) * full) * ground(p, blur, noise_seed);
        sum = sum + lerp(lit, curtain(d), smooth(500, 2500, t));
      }
      float* px = out.rgb.data() + (static_cast<std::size_t>(y) * out.width + x) * 3;
      px[0] = static_cast<float>(sum.x / 4), px[1] = static_cast<float>(sum.y / 4), px[2] = static_cast<float>(sum.z / 4);
    }
  return out;
}

FloorShadow::FloorShadow(const Lighting& light, const std::vector<V>& caster) : low_{1e9, 1e9, 0}, high_{-1e9, -1e9, 0} {
  for (const V& p : caster) {
    low_.x = std::min(low_.x, p.x), low_.y = std::min(low_.y, p.y);
    high_.x = std::max(high_.x, p.x), high_.y = std::max(high_.y, p.y);
  }
  const V margin{55, 55, 0};
  low_ = low_ - margin, high_ = high_ + margin;
  width_ = static_cast<int>((high_.x - low_.x) / kCell) + 1, height_ = static_cast<int>((high_.y - low_.y) / kCell) + 1;
  high_ = {low_.x + kCell * (width_ - 1), low_.y + kCell * (height_ - 1), 0};
  rgb_.resize(static_cast<std::size_t>(width_) * height_ * 3);
  const V full = light.unshadowed(kUp);
#pragma omp parallel for schedule(dynamic, 4)
  for (int j = 0; j < height_; ++j)
    for (int i = 0; i < width_; ++i) {
      const V lit = light.arriving({low_.x + kCell * i, low_.y + kCell * j, 0}, kUp, 0.3);
      // To exactly 1 at the lattice's border, so that no edge shows.
      const double border = kCell * std::min({i, j, width_ - 1 - i, height_ - 1 - j}), keep = smooth(0, 20, border);
      float* c = rgb_.data() + (static_cast<std::size_t>(j) * width_ + i) * 3;
      c[0] = static_cast<float>(1 + keep * (lit.x / full.x - 1));
      c[1] = static_cast<float>(1 + keep * (lit.y / full.y - 1));
      c[2] = static_cast<float>(1 + keep * (lit.z / full.z - 1));
    }
}

V FloorShadow::left_over(V p) const {
  const double x = (p.x - low_.x) / kCell, y = (p.y - low_.y) / kCell;
  if (!(x >= 0 && y >= 0 && x < width_ - 1 && y < height_ - 1)) return {1, 1, 1};
  const auto i = static_cast<int>(x), j = static_cast<int>(y);
  const double fx = x - i, fy = y - j;
  const float* c = rgb_.data() + (static_cast<std::size_t>(j) * width_ + i) * 3;
  const auto at = [&](int n) {
    const float *a = c + n, *b = a + static_cast<std::ptrdiff_t>(3) * width_;
    return (1 - fy) * ((1 - fx) * a[0] + fx * a[3]) + fy * ((1 - fx) * b[0] + fx * b[3]);
  };
  return {at(0), at(1), at(2)};
}

}  // namespace mfl::data::demo
