// Which Gaussians of a scene are kept for files and turntables. All filters work on host tensors, f32.
//
// Source: GaussianModel in gslrm/model/gaussians_renderer.py. There the filters change their argument; here they give
// new sets, so that what is shown and what is saved is the caller's word. The filter by distance to cameras is left
// out: nothing ever passes cameras to it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "models/gslrm/config.h"
#include "models/gslrm/gaussians.h"

namespace mfl::gslrm {

struct Filters {
  std::optional<float> opacity = {};  // keeps sigmoid(opacity) > it
  std::optional<float> scaling = {};  // keeps max(exp(scaling)) * scaling_modifier < it, and every point with z > 0
  std::optional<float> floater = {};  // drops |x| > it and |y| > it and z < -it
  std::optional<std::array<float, 6>> box = {};  // keeps x0 <= x <= x1, y0 <= y <= y1, z0 <= z <= z1
  float scaling_modifier = 1;

  // The published values of each use.
  static Filters inference();                     // 0.04, 0.1, 0.6, [-0.91, 0.91]^2 x [-1, 1]
  static Filters visuals();                       // 0.02, box +-0.91
  static Filters evaluation(const ModelConfig&);  // 0.02, box +-half_bbx_size (0.91) with clip_xyz, else no box
};

// 1 for every Gaussian that all filters keep. [N]
std::vector<std::uint8_t> keep_mask(const Gaussians&, const Filters&);
// The Gaussians whose mask is 1, in order, in fresh host memory.
Gaussians select(const Gaussians&, const std::vector<std::uint8_t>& mask);
inline Gaussians filtered(const Gaussians& g, const Filters& f) { return select(g, keep_mask(g, f)); }

}  // namespace mfl::gslrm
