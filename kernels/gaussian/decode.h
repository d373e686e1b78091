// The network's output channels to Gaussians before activation.                     GS-LRM, gslrm.py: to_gs and forward
//
//   Channels of a Gaussian, C_g = 3 + 3K + 3 + 4 + 1 with K = (sh_degree + 1)^2:
//     xyz            free: raw;  pixel: o + t d on the ray through its pixel (camera_ray.h), t from the depth rule
//     features [K,3] raw
//     scaling        min(raw - 2.3, -1.2), log scale; no gradient where the bound is active
//     rotation       raw, quaternion w, x, y, z
//     opacity        raw - 2.0, logit
//   Order: the n_g free Gaussians first, then one per input pixel in the Gaussian order: view, patch row, patch column,
//   row in patch, column in patch; hence `pixel` is read straight down. N = n_g + V * H * W.
//   The pixels' positions as an image [V, H, W, 3] of one batch item: unpatchify (patchify.h) of xyz's last rows.
//   Sums and rays in f32 (f64 for f64): the published trainer rounds depth, scale and opacity to 16 bits, which leaves
//   some 365 different depths in bf16; we do not. Its clip of xyz to [-1, 1] never runs there and does not exist here.
#pragma once

#include "runtime/context.h"

namespace mfl {

// With s = sigmoid(mean of the three raw xyz channels + depth_bias):
enum class DepthRule : std::uint8_t {
  nearest,  // t = (2s - 1) * 1.8 - o.d: around the ray's point nearest to the world origin (custom, augmented rays)
  range,    // t = depth_min + s * (depth_max - depth_min)
  reference_origin,  // t = (2s - 1) * 1.8 + |o|
  fixed,             // t = (2s - 1) * 1.5 + 2.7
};

struct DecodeConfig {
  int sh_degree = 0;
  int patch = 8;
  bool pixel_align = true;  // false: xyz of pixel Gaussians is raw too   model.hard_pixelalign
  DepthRule depth = DepthRule::nearest;
  double depth_min = -1, depth_max = -1;
  double depth_bias = 0;  // model.depth_preact_bias

  std::int64_t coefficients() const { return std::int64_t{sh_degree + 1} * (sh_degree + 1); }  // K
  std::int64_t channels() const { return 11 + 3 * coefficients(); }                            // C_g
};

struct DecodeFwd {
  ConstView free = {};  // [B, n_g, C_g]                    f64 | f32 | bf16; not given: n_g = 0
  ConstView pixel;      // [B, V * H/p * W/p, p * p * C_g]  dtype of free
  ConstView c2w;        // [B, V, 4, 4]                     f32 | f64; the first axis may be strided
  ConstView fxfycxcy;   // [B, V, 4]                        dtype of c2w; pixels
  int height = 0, width = 0;
  DecodeConfig config;
  View xyz;       // [B, N, 3]     accum type; out
  View features;  // [B, N, K, 3]
  View scaling;   // [B, N, 3]
  View rotation;  // [B, N, 4]
  View opacity;   // [B, N, 1]
};
void decode_fwd(const Stream&, const DecodeFwd&);

// For aligned pixels every raw xyz channel gets (dxyz . d) * dt/ds * s (1 - s) / 3.
struct DecodeBwd {
  ConstView free = {};
  ConstView pixel, c2w, fxfycxcy;  // as in forward
  int height = 0, width = 0;
  DecodeConfig config;
  ConstView dxyz, dfeatures, dscaling, drotation, dopacity;  // accum type, shapes of the outputs

  View dfree = {};                      // [B, n_g, C_g]                    dtype of free; out
  View dpixel;                          // [B, V * H/p * W/p, p * p * C_g]  dtype of pixel; out
  GradMode mode = GradMode::overwrite;  // of both
};
void decode_bwd(const Stream&, const DecodeBwd&);

namespace cpu {
void decode_fwd(const DecodeFwd&);
void decode_bwd(const DecodeBwd&);
}  // namespace cpu
namespace cuda {
void decode_fwd(const Stream&, const DecodeFwd&);
void decode_bwd(const Stream&, const DecodeBwd&);
}  // namespace cuda

}  // namespace mfl
