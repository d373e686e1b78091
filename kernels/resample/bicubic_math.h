// The bicubic window of one output pixel: shared by the oracle and the kernel, because an 8-bit result is exact only if
// both round the same f64 weights (the device file is compiled without fused multiply-add).
#pragma once

#include <cstdint>

#include "runtime/rng.h"  // MFL_HD

namespace mfl {

// Keys 1981 with a = -1/2.
MFL_HD inline double bicubic(double x) {
  x = x < 0 ? -x : x;
  if (x < 1) return ((1.5 * x) - 2.5) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * -0.5;
  return 0;
}

// Taps [first, first + count) of the input axis and, by `at`, the weight of tap first + i before normalisation.
struct BicubicWindow {
  std::int64_t first = 0, count = 0;
  double centre = 0, inverse = 1, total = 0;

  MFL_HD double at(std::int64_t i) const { return bicubic((double(i + first) - centre + 0.5) * inverse); }
  MFL_HD double weight(std::int64_t i) const { return at(i) / total; }
  // 22-bit fixed point, rounded half away from zero.
  MFL_HD std::int32_t fixed(std::int64_t i) const {
    const double w = weight(i) * double(1 << 22);
    return static_cast<std::int32_t>(w < 0 ? w - 0.5 : w + 0.5);
  }
};

// Output pixel `out` of an axis of `to` pixels that had `from`; the window widens with the reduction.
MFL_HD inline BicubicWindow bicubic_window(std::int64_t out, std::int64_t from, std::int64_t to) {
  BicubicWindow w;
  const double scale = double(from) / double(to), widen = scale < 1 ? 1 : scale, support = 2 * widen;
  w.centre = (double(out) + 0.5) * scale;
  w.inverse = 1.0 / widen;
  const std::int64_t low = static_cast<std::int64_t>(w.centre - support + 0.5),
                     high = static_cast<std::int64_t>(w.centre + support + 0.5);
  w.first = w.centre - support + 0.5 < 0 ? 0 : low;
  w.count = (high > from ? from : high) - w.first;
  for (std::int64_t i = 0; i < w.count; ++i) w.total += w.at(i);
  return w;
}

MFL_HD inline std::uint8_t clip8(std::int32_t sum) {
  const std::int32_t v = sum >> 22;
  return static_cast<std::uint8_t>(v < 0 ? 0 : v > 255 ? 255 : v);
}

}  // namespace mfl
