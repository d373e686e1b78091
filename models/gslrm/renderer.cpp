#include "models/gslrm/renderer.h"

#include "runtime/profile.h"

namespace mfl::gslrm {

ProjectFwd projection(const Gaussians& g, const Cameras& k, float scaling_modifier, View splat, View depth, View rect) {
  return {.xyz = g.xyz,
          .features = g.features,
          .scaling = g.scaling,
          .rotation = g.rotation,
          .opacity = g.opacity,
          .c2w = k.c2w,
          .fxfycxcy = k.fxfycxcy,
          .height = k.height,
          .width = k.width,
          .scaling_modifier = scaling_modifier,
          .splat = splat,
          .depth = depth,
          .rect = rect};
}

ProjectBwd projection_gradient(const Gaussians& g, const Cameras& k, float scaling_modifier, ConstView rect, ConstView dsplat,
                               const Gaussians& d) {
  return {.xyz = g.xyz,
          .features = g.features,
          .scaling = g.scaling,
          .rotation = g.rotation,
          .opacity = g.opacity,
          .c2w = k.c2w,
          .fxfycxcy = k.fxfycxcy,
          .height = k.height,
          .width = k.width,
          .scaling_modifier = scaling_modifier,
          .rect = rect,
          .dsplat = dsplat,
          .dxyz = d.xyz,
          .dfeatures = d.features,
          .dscaling = d.scaling,
          .drotation = d.rotation,
          .dopacity = d.opacity};
}

Tensor Renderer::forward(Ctx& cx, Arena& render_arena, const Gaussians& g, const Cameras& k, Saved& saved) const {
  const Range range("render");
  const std::int64_t n = g.xyz.shape()[0], views = k.c2w.shape()[0];
  Tensor image = cx.accum({views, k.height, k.width, 3}, {"render"});
  RasterizeState state;
  Tensor rect = render_arena.empty({views, n}, DType::i32, {"splat rectangles"});
  {
    Tensor splat = render_arena.empty({views, n, kSplatSize}, cx.precision.accum, {"splats"});
    Tensor depth = render_arena.empty({views, n}, cx.precision.accum, {"splat depth"});
    project_fwd(cx.stream, projection(g, k, scaling_modifier, splat, depth, rect));
    rasterize_fwd(cx.stream, render_arena,
                  {.splat = splat,
                   .depth = depth,
                   .rect = rect,
                   .background = {background[0], background[1], background[2]},
                   .image = image,
                   .chunk = chunk},
                  cx.saving ? &state : nullptr);
  }
  if (cx.saving) {
    saved.gaussians = {g.xyz.kept(), g.features.kept(), g.scaling.kept(), g.rotation.kept(), g.opacity.kept()};
    saved.cameras = {k.c2w.kept(), k.fxfycxcy.kept(), k.height, k.width};
    saved.image = image.kept();
    saved.rect = rect.kept();
    saved.raster = std::move(state);
  }
  return image;
}

Gaussians Renderer::backward(Ctx& cx, Arena& render_arena, Saved saved, const Tensor& dimage) const {
  const Range range("render backward");
  const Gaussians& g = saved.gaussians;
  const Cameras& k = saved.cameras;
  MFL_CHECK(g.xyz, "Renderer::backward: Saved is empty; forward must run with Ctx::saving");
  const std::int64_t n = g.xyz.shape()[0], views = k.c2w.shape()[0];
  Gaussians d{cx.accum(g.xyz.shape(), {"d xyz"}), cx.accum(g.features.shape(), {"d features"}),
              cx.accum(g.scaling.shape(), {"d scaling"}), cx.accum(g.rotation.shape(), {"d rotation"}),
              cx.accum(g.opacity.shape(), {"d opacity"})};
  Tensor dsplat = render_arena.empty({views, n, kSplatSize}, cx.precision.accum, {"splat gradients"});
  rasterize_bwd(cx.stream, render_arena,
                {.background = {background[0], background[1], background[2]},
                 .image = saved.image,
                 .dimage = dimage,
                 .dsplat = dsplat},
                saved.raster);
  saved.raster = {};
  project_bwd(cx.stream, projection_gradient(g, k, scaling_modifier, saved.rect, dsplat, d));
  return d;
}

}  // namespace mfl::gslrm
