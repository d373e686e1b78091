#include "models/gslrm/filters.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace mfl::gslrm {
namespace {

Tensor selected_rows(const Tensor& t, const std::vector<std::uint8_t>& mask, std::int64_t kept) {
  MFL_CHECK(t.shape()[0] == static_cast<std::int64_t>(mask.size()), "select: a mask of ", mask.size(), " for ",
            t.shape());
  Shape shape = t.shape();
  shape[0] = kept;
  Tensor out = Tensor::on_heap(shape, DType::f32);
  const std::int64_t width = mask.empty() ? 0 : t.numel() / t.shape()[0];
  const float* from = t.data<float>();
  float* to = out.data<float>();
  for (std::size_t i = 0; i < mask.size(); ++i, from += width) {
    if (!mask[i]) continue;
    std::memcpy(to, from, static_cast<std::size_t>(width) * sizeof(float));
    to += width;
  }
  return out;
}

}  // namespace

Filters Filters::inference() { return {0.04f, 0.1f, 0.6f, std::array{-0.91f, 0.91f, -0.91f, 0.91f, -1.0f, 1.0f}}; }
Filters Filters::visuals() { return {0.02f, {}, {}, std::array{-0.91f, 0.91f, -0.91f, 0.91f, -0.91f, 0.91f}}; }
Filters Filters::evaluation(const ModelConfig& m) {
  Filters f{0.02f, {}, {}, {}};
  const auto h = static_cast<float>(m.half_bbx_size.value_or(0.91));
  if (m.clip_xyz) f.box = std::array{-h, h, -h, h, -h, h};
  f.scaling_modifier = static_cast<float>(m.gaussians.scaling_modifier.value_or(1.0));
  return f;
}

std::vector<std::uint8_t> keep_mask(const Gaussians& g, const Filters& f) {
  const std::int64_t n = g.xyz.shape()[0];
  const float* xyz = g.xyz.data<float>();
  const float* opacity = g.opacity.data<float>();
  const float* scaling = g.scaling.data<float>();
  std::vector<std::uint8_t> mask(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) {
    const float x = xyz[3 * i], y = xyz[3 * i + 1], z = xyz[3 * i + 2];
    bool keep = true;
    if (f.opacity) keep &= 1 / (1 + std::exp(-opacity[i])) > *f.opacity;
    if (f.scaling) {
      const float largest = std::max({scaling[3 * i], scaling[3 * i + 1], scaling[3 * i + 2]});
      keep &= std::exp(largest) * f.scaling_modifier < *f.scaling || z > 0;
    }
    if (f.floater) keep &= !(std::abs(x) > *f.floater && std::abs(y) > *f.floater && z < -*f.floater);
    if (f.box) {
      const auto& b = *f.box;
      keep &= x >= b[0] && x <= b[1] && y >= b[2] && y <= b[3] && z >= b[4] && z <= b[5];
    }
    mask[static_cast<std::size_t>(i)] = keep;
  }
  return mask;
}

Gaussians select(const Gaussians& g, const std::vector<std::uint8_t>& mask) {
  const std::int64_t kept = std::count(mask.begin(), mask.end(), std::uint8_t{1});
  return {selected_rows(g.xyz, mask, kept), selected_rows(g.features, mask, kept), selected_rows(g.scaling, mask, kept),
          selected_rows(g.rotation, mask, kept), selected_rows(g.opacity, mask, kept)};
}

}  // namespace mfl::gslrm
