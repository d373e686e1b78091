// Two losses on where pixel Gaussians lie relative to their rays (o, d).      gslrm/model/utils_losses.py, LossComputer
//
//   xyz is the pixel part of the Gaussians' positions, [B, P, 3] with P = V * H * W, in the Gaussian order:
//   slice(xyz, 1, n_g, P). The first axis of every input and of dxyz may be strided. Rays as in camera_ray.h. Means are
//   over B * P pixels. stop() is a value without gradient. dxyz (mode) weight * dloss/dxyz.
#pragma once

#include "runtime/context.h"

namespace mfl {

// Pixels of the Gaussians: cameras of the input views.
struct PixelGrid {
  ConstView c2w;       // [B, V, 4, 4]  f32 | f64
  ConstView fxfycxcy;  // [B, V, 4]     the same dtype; pixels
  int height = 0, width = 0, patch = 8;
};

// e = xyz - o,  r = e - stop(e.d) d,  loss = mean(m |r|): the distance from the ray. m is 1, or the alpha of the pixel.
// With aligned Gaussians r is rounding noise, and so is its gradient's direction; the decode's backward projects it
// out.
struct PixelAlignFwd {
  ConstView xyz;  // [B, V * H * W, 3]  f32 | f64
  PixelGrid grid;
  ConstView target = {};  // [B, V, H, W, 4]    f32; its alpha is m. Not given: m = 1
  View loss;              // [1]  out, dtype of xyz
  View scratch = {};      // [align_scratch(B * V)] f64, CUDA only
};
void pixel_align_fwd(const Stream&, const PixelAlignFwd&);

// dloss/dxyz = m r / |r| / pixels; 0 where r = 0.
struct PixelAlignBwd {
  ConstView xyz;
  PixelGrid grid;
  ConstView target = {};
  double weight = 1;
  View dxyz;  // [B, V * H * W, 3]  dtype of xyz
  GradMode dxyz_mode = GradMode::accumulate;
};
void pixel_align_bwd(const Stream&, const PixelAlignBwd&);

// delta = |xyz - o|;  goal = stop((delta - mean) / (std + 1e-8)) * 0.5 + |o| with the mean and the unbiased standard
// deviation of the view;  loss = mean((delta - goal)^2): pulls depths into a shell around the camera's distance.
struct PointsDistFwd {
  ConstView xyz;  // [B, V * H * W, 3]  f32 | f64; H * W >= 2
  PixelGrid grid;
  View loss;          // [1]        out, dtype of xyz
  View stats;         // [B, V, 2]  out, dtype of xyz: mean and std, kept for backward
  View scratch = {};  // [align_scratch(B * V)] f64, CUDA only
};
void points_dist_fwd(const Stream&, const PointsDistFwd&);

// dloss/dxyz = 2 (delta - goal) (xyz - o) / delta / pixels
struct PointsDistBwd {
  ConstView xyz;
  PixelGrid grid;
  ConstView stats;
  double weight = 1;
  View dxyz;
  GradMode dxyz_mode = GradMode::accumulate;
};
void points_dist_bwd(const Stream&, const PointsDistBwd&);
std::int64_t align_scratch(std::int64_t views);

namespace cpu {
void pixel_align_fwd(const PixelAlignFwd&);
void pixel_align_bwd(const PixelAlignBwd&);
void points_dist_fwd(const PointsDistFwd&);
void points_dist_bwd(const PointsDistBwd&);
}  // namespace cpu
namespace cuda {
void pixel_align_fwd(const Stream&, const PixelAlignFwd&);
void pixel_align_bwd(const Stream&, const PixelAlignBwd&);
void points_dist_fwd(const Stream&, const PointsDistFwd&);
void points_dist_bwd(const Stream&, const PointsDistBwd&);
}  // namespace cuda

}  // namespace mfl
