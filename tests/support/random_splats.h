// Splats as projection leaves them, for the tests of the pixel ops.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/splat/rasterize.h"
#include "kernels/splat/splat_math.h"
#include "runtime/rng.h"

namespace mfl::test {

// A Slot's values, one after the other.
inline std::function<double(Rng&)> listed(std::vector<double> values) {
  return [values = std::move(values), i = std::size_t{0}](Rng&) mutable { return values[i++ % values.size()]; };
}

struct Splats {
  std::int64_t views, n;
  int height, width;
  std::vector<double> splat, depth, rect;
};

// Ellipses of 2 to `largest` pixels (standard deviation) in and around the image, a few of them not seen.
inline Splats random_splats(std::int64_t views, std::int64_t n, int height, int width, double largest, double most_opaque,
                     std::uint64_t seed = 7) {
  Splats s{views, n, height, width, {}, {}, {}};
  Rng rng(seed, Draw::test);
  for (std::int64_t i = 0; i < views * n; ++i) {
    const double u = rng.uniform(-10, width + 10), v = rng.uniform(-10, height + 10), angle = rng.uniform(0, 3.14159);
    const double p = rng.uniform(2, largest), q = rng.uniform(2, largest), co = std::cos(angle), si = std::sin(angle);
    const double a = p * p * co * co + q * q * si * si, b = (p * p - q * q) * co * si,
                 c = p * p * si * si + q * q * co * co;
    const double det = a * c - b * b, opacity = rng.uniform(0.05, most_opaque), depth = rng.uniform(1, 4);
    for (double x : {u, v, c / det, -b / det, a / det, opacity}) s.splat.push_back(x);
    for (int e = 0; e < 3; ++e) s.splat.push_back(rng.uniform(0, 1.2));
    int x0, x1, y0, y1;
    const double radius = std::ceil(3 * std::max(p, q));
    tile_span(u, radius, (width + 15) / 16, x0, x1);
    tile_span(v, radius, (height + 15) / 16, y0, y1);
    const bool seen = x1 > x0 && y1 > y0 && rng.uniform() > 0.05f;
    s.depth.push_back(seen ? depth : 0);
    s.rect.push_back(seen ? x0 | y0 << 8 | (x1 - x0) << 16 | (y1 - y0) << 24 : 0);
  }
  return s;
}

}  // namespace mfl::test
