#include "models/gslrm/viewer/pack.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace mfl::gslrm {
namespace {

constexpr float kY0 = 0.28209479177387814f;

struct Span {  // of values that are going to be quantised
  float low = std::numeric_limits<float>::max(), high = std::numeric_limits<float>::lowest();
  void add(float x) { low = std::min(low, x), high = std::max(high, x); }
  // Steps of which `most` reach from low to high.
  float step(int most) const { return high > low ? (high - low) / static_cast<float>(most) : 1.0f; }
};

std::uint32_t quantised(float x, float low, float step, int most) {
  return static_cast<std::uint32_t>(std::clamp(std::lround((x - low) / step), 0L, static_cast<long>(most)));
}

bool finite(const float* x, std::int64_t n) {
  return std::all_of(x, x + n, [](float v) { return std::isfinite(v); });
}

std::uint32_t pack_rotation(const float* q) {
  double length = 0;
  for (int i = 0; i < 4; ++i) length += static_cast<double>(q[i]) * q[i];
  length = std::max(std::sqrt(length), 1e-12);
  std::uint32_t largest = 0;
  for (std::uint32_t i = 1; i < 4; ++i)
    if (std::abs(q[i]) > std::abs(q[largest])) largest = i;
  const double sign = q[largest] < 0 ? -1 : 1;  // q and -q are one rotation
  std::uint32_t word = largest << 30, place = 0;
  for (std::uint32_t i = 0; i < 4; ++i) {
    if (i == largest) continue;
    const long v = std::lround(sign * q[i] / length * (511 * std::sqrt(2.0))) + 511;
    word |= static_cast<std::uint32_t>(std::clamp(v, 0L, 1022L)) << (10 * place++);
  }
  return word;
}

}  // namespace

PackedGaussians pack_gaussians(const Gaussians& g, float modifier) {
  const std::int64_t all = g.xyz.shape()[0], K = g.features.shape()[1];
  MFL_CHECK(K == 1 || K == 4 || K == 9 || K == 16, "the viewer: features ", g.features.shape(),
            "; SH coefficients are 1, 4, 9 or 16");
  const float *xyz = g.xyz.data<float>(), *features = g.features.data<float>(), *scaling = g.scaling.data<float>(),
              *rotation = g.rotation.data<float>(), *opacity = g.opacity.data<float>();
  const float more = std::log(modifier);
  auto log_scale = [&](std::int64_t i) { return std::clamp(scaling[i] + more, -20.0f, 10.0f); };
  auto base = [&](std::int64_t i) {
    const float c = 0.5f + kY0 * features[i];
    return K == 1 ? std::max(c, 0.0f) : c;
  };
  PackedGaussians p;
  p.degree = K == 1 ? 0 : K == 4 ? 1 : K == 9 ? 2 : 3;
  p.rest_stride = 16 * p.degree;
  auto degree_of = [](std::int64_t k) { return k < 4 ? 1 : k < 9 ? 2 : 3; };  // coefficient k > 0

  std::vector<std::int64_t> kept;
  Span position[3], scales, colours;
  for (std::int64_t i = 0; i < all; ++i) {
    const float* f = features + 3 * K * i;
    if (!finite(xyz + 3 * i, 3) || !finite(f, 3 * K) || !finite(scaling + 3 * i, 3) || !finite(rotation + 4 * i, 4) ||
        !std::isfinite(opacity[i]))
      continue;
    kept.push_back(i);
    for (int c = 0; c < 3; ++c) {
      position[c].add(xyz[3 * i + c]);
      scales.add(log_scale(3 * i + c));
      colours.add(base(3 * K * i + c));
    }
    for (std::int64_t k = 1; k < K; ++k)
      for (int c = 0; c < 3; ++c) {
        float& largest = p.rest_largest[static_cast<std::size_t>(degree_of(k) - 1)];
        largest = std::max(largest, std::abs(f[3 * k + c]));
      }
  }
  constexpr int kPosition = (1 << 21) - 1, kScale = 1023, kColour = 255;
  p.count = static_cast<std::int64_t>(kept.size());
  if (p.count == 0) return p;
  for (std::size_t c = 0; c < 3; ++c)
    p.position_low[c] = position[c].low, p.position_step[c] = position[c].step(kPosition);
  p.scale_low = scales.low, p.scale_step = scales.step(kScale);
  p.colour_low = colours.low, p.colour_step = colours.step(kColour);
  p.core.resize(static_cast<std::size_t>(4 * p.count));
  p.colour.resize(static_cast<std::size_t>(p.count));
  p.rest.resize(static_cast<std::size_t>(p.rest_stride * p.count), 0);
  for (std::size_t to = 0; to < kept.size(); ++to) {
    const std::int64_t i = kept[to];
    std::uint32_t x[3], s[3], colour = 0;
    for (std::uint32_t c = 0; c < 3; ++c) {
      x[c] = quantised(xyz[3 * i + c], p.position_low[c], p.position_step[c], kPosition);
      s[c] = quantised(log_scale(3 * i + c), p.scale_low, p.scale_step, kScale);
      colour |= quantised(base(3 * K * i + c), p.colour_low, p.colour_step, kColour) << (8 * c);
    }
    std::uint32_t* w = &p.core[4 * to];
    w[0] = x[0] | x[1] << 21;
    w[1] = x[1] >> 11 | x[2] << 10;
    w[2] = s[0] | s[1] << 10 | s[2] << 20;
    w[3] = pack_rotation(rotation + 4 * i);
    const float o = 1 / (1 + std::exp(-opacity[i]));
    p.colour[to] = colour | static_cast<std::uint32_t>(std::lround(255 * std::sqrt(o))) << 24;
    for (std::int64_t k = 1; k < K; ++k)
      for (int c = 0; c < 3; ++c)
        if (const float largest = p.rest_largest[static_cast<std::size_t>(degree_of(k) - 1)]; largest > 0)
          p.rest[to * static_cast<std::size_t>(p.rest_stride) + static_cast<std::size_t>(3 * (k - 1) + c)] =
              static_cast<std::int8_t>(std::lround(127 * features[3 * (K * i + k) + c] / largest));
  }
  return p;
}

}  // namespace mfl::gslrm
