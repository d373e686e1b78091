// The oracles' per-pixel maths: which pixels a splat can reach, what it weighs in one, and the order of splats. Included by
// _cpu.cpp files of this folder only.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>
#include <vector>

#include "kernels/splat/rasterize.h"

namespace mfl::cpu {

inline constexpr double kOpaque = 0.99, kFaint = 1.0 / 255, kEnough = 1e-4;

// Pixels [x0, x1) x [y0, y1) that a splat can reach: its tiles, the image, the rows of a band, and the box around the
// ellipse where alpha is 1/255, one pixel wider.
struct Box {
  int x0, x1, y0, y1;
};
template <class T>
Box reach(const T* s, std::uint32_t rect, int width, int row0, int row1) {
  const int tx = rect & 255, ty = rect >> 8 & 255, tw = rect >> 16 & 255, th = rect >> 24;
  Box b{tx * kSplatTile, std::min(width, (tx + tw) * kSplatTile), std::max(row0, ty * kSplatTile),
        std::min(row1, (ty + th) * kSplatTile)};
  const double q = 2 * std::log(255 * double(s[5])), det = double(s[2]) * double(s[4]) - double(s[3]) * double(s[3]);
  if (!(q >= -1e-4)) return {0, 0, 0, 0};
  if (det > 0) {
    const double hx = std::sqrt(std::max(q, 0.0) * double(s[4]) / det) + 1,
                 hy = std::sqrt(std::max(q, 0.0) * double(s[2]) / det) + 1;
    auto clip = [](int& from, int& to, double centre, double half) {
      const double low = from, high = std::max(from, to);
      from = int(std::clamp(std::ceil(centre - half), low, high));
      to = int(std::clamp(std::floor(centre + half) + 1, low, high));
    };
    clip(b.x0, b.x1, double(s[0]), hx);
    clip(b.y0, b.y1, double(s[1]), hy);
  }
  return b;
}

template <class T>
struct Weight {
  T alpha, falloff, dx, dy;  // alpha 0: skipped
};
template <class T>
Weight<T> weigh(const T* s, T faint, int x, int y) {
  const T dx = s[0] - T(x), dy = s[1] - T(y);
  const T power = T(-0.5) * (s[2] * dx * dx + s[4] * dy * dy) - s[3] * dx * dy;
  // exp is not evaluated where alpha is certain to be below 1/255
  if (power > 0 || power < faint) return {0, 0, dx, dy};
  const T falloff = std::exp(power), alpha = std::min(T(kOpaque), s[5] * falloff);
  return {alpha < T(kFaint) ? T(0) : alpha, falloff, dx, dy};
}
template <class T>
T faint_power(const T* s) {
  return std::log(T(kFaint) / s[5]) - T(0.01);
}

// The Gaussians of a view that are seen, by depth as f32, then index: key and index. depth, rect [N].
template <class T>
std::vector<std::pair<std::uint32_t, std::int32_t>> by_depth(const T* depth, const std::int32_t* rect, std::int64_t n) {
  std::vector<std::pair<std::uint32_t, std::int32_t>> keys;  // bits of a positive f32 order as the number does
  for (std::int64_t i = 0; i < n; ++i)
    if (rect[i] != 0) keys.push_back({std::bit_cast<std::uint32_t>(float(depth[i])), std::int32_t(i)});
  std::sort(keys.begin(), keys.end());
  return keys;
}

}  // namespace mfl::cpu
