// Gaussians before activation to splats, one for each view:
//   s = m exp(scaling), q = rotation / max(|rotation|, 1e-12), o = sigmoid(opacity), t = W x + p   (world to camera)
//   (u, v): the projection of x, in pixels; the centre of pixel (0, 0) is (0, 0) here, (0.5, 0.5) in the intrinsics
//   Sigma = J W R(q) diag(s^2) R(q)^T W^T J^T + 0.3 I;  conic (A, B, C) = Sigma^-1;  colour = max(0, SH(dir) + 0.5)
// J is taken at t with tx/tz and ty/tz clamped to +-1.3 tan(fov/2). Not seen: tz <= 0.2, or no tile touched by the
// square of radius ceil(3 sqrt(lambda_max)).                            Zwicker et al. 2001; Kerbl et al. 2023
#pragma once

#include "kernels/splat/rasterize.h"

namespace mfl {

struct ProjectFwd {
  ConstView xyz;              // [N, 3]        f64 | f32, as all floats here
  ConstView features;         // [N, K, 3]     K = 1, 4, 9 or 16: SH degree 0 to 3
  ConstView scaling;          // [N, 3]        log scale
  ConstView rotation;         // [N, 4]        w, x, y, z
  ConstView opacity;          // [N, 1]        logit
  ConstView c2w;              // [V, 4, 4]     camera to world; the inverse is taken of the affine part
  ConstView fxfycxcy;         // [V, 4]        pixels
  int height = 0, width = 0;  // of the image; at most 4080
  float scaling_modifier = 1;
  View splat;  // [V, N, 9]     zeros where not seen
  View depth;  // [V, N]        tz; 0 where not seen
  View rect;   // [V, N]        i32: tile x | y << 8 | columns << 16 | rows << 24; 0 where not seen
};
void project_fwd(const Stream&, const ProjectFwd&);

// Sums over views in their order. As in the reference, the conic's gradient uses 1 / (det^2 + 1e-7), and where tx/tz
// was clamped, Sigma gives no gradient to tx and takes the clamped tx as a constant.
struct ProjectBwd {
  ConstView xyz, features, scaling, rotation, opacity, c2w, fxfycxcy;  // as in ProjectFwd
  int height = 0, width = 0;
  float scaling_modifier = 1;
  ConstView rect;                                       // [V, N]        what forward wrote; where 0, nothing flows
  ConstView dsplat;                                     // [V, N, 9]
  View dxyz, dfeatures, dscaling, drotation, dopacity;  // shaped like the inputs
  GradMode mode = GradMode::overwrite;
};
void project_bwd(const Stream&, const ProjectBwd&);

namespace cpu {
void project_fwd(const ProjectFwd&);
void project_bwd(const ProjectBwd&);
}  // namespace cpu
namespace cuda {
void project_fwd(const Stream&, const ProjectFwd&);
void project_bwd(const Stream&, const ProjectBwd&);
}  // namespace cuda

}  // namespace mfl
