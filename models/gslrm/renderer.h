// Gaussians and cameras to images, and image gradients back to the Gaussians.
//                                          Kerbl et al. 2023, with the constants of diff-gaussian-rasterization
//
// All views of a scene in one pass. Buffers whose size depends on the data come from `render_arena`, so that nothing
// else moves when a scene needs more; on CUDA the forward pass reads the number of intersections back to the host (see
// kernels/splat/rasterize.h). Cameras get no gradient.
#pragma once

#include "kernels/splat/project.h"
#include "kernels/splat/rasterize.h"
#include "models/gslrm/gaussians.h"
#include "runtime/context.h"

namespace mfl::gslrm {

struct Renderer {
  float scaling_modifier = 1;  // multiplies every scale
  float background[3] = {1, 1, 1};
  std::int64_t chunk = kRasterizeChunk;  // CUDA: most intersections in memory at a time; the image does not depend on it

  struct Saved {
    Gaussians gaussians;  // the inputs
    Cameras cameras;
    Tensor image;  // [V, H, W, 3]  the output
    Tensor rect;   // [V, N]        i32
    RasterizeState raster;
  };

  // Image [V, H, W, 3], accum type, from cx.arena. Empty Saved when !cx.saving.
  Tensor forward(Ctx& cx, Arena& render_arena, const Gaussians&, const Cameras&, Saved&) const;
  // Gradients of xyz, features, scaling, rotation and opacity, shaped like the inputs, from cx.arena. dimage [V, H, W,
  // 3].
  Gaussians backward(Ctx& cx, Arena& render_arena, Saved, const Tensor& dimage) const;
};

// The first and last of the renderer's four stages, for a scene under its cameras; what they write goes in beside it.
ProjectFwd projection(const Gaussians&, const Cameras&, float scaling_modifier, View splat, View depth, View rect);
ProjectBwd projection_gradient(const Gaussians&, const Cameras&, float scaling_modifier, ConstView rect, ConstView dsplat,
                               const Gaussians& gradient);

}  // namespace mfl::gslrm
