#include "kernels/splat/project.h"

#include "kernels/common/dispatch.h"

namespace mfl {
namespace {

template <class Args>
void check_inputs(const Stream& s, const char* op, const Args& a) {
  MFL_CHECK(a.xyz && a.xyz.shape.rank() == 2, op, ": xyz must be [N, 3]");
  MFL_CHECK(a.c2w && a.c2w.shape.rank() == 3, op, ": c2w must be [V, 4, 4]");
  MFL_CHECK(a.features && a.features.shape.rank() == 3, op, ": features must be [N, K, 3]");
  const DType t = a.xyz.dtype;
  MFL_CHECK(t == DType::f32 || t == DType::f64, op, ": xyz is ", t,
            "; Gaussians are f32, or f64 where gradients are checked");
  const std::int64_t n = a.xyz.shape[0], views = a.c2w.shape[0], k = a.features.shape[1];
  MFL_CHECK(k == 1 || k == 4 || k == 9 || k == 16, op, ": features ", a.features.shape,
            ", expected 1, 4, 9 or 16 coefficients a channel (SH degree 0 to 3)");
  check(s, op, "xyz", a.xyz, {n, 3}, t);
  check(s, op, "features", a.features, {n, k, 3}, t);
  check(s, op, "scaling", a.scaling, {n, 3}, t);
  check(s, op, "rotation", a.rotation, {n, 4}, t);
  check(s, op, "opacity", a.opacity, {n, 1}, t);
  check(s, op, "c2w", a.c2w, {views, 4, 4}, t);
  check(s, op, "fxfycxcy", a.fxfycxcy, {views, 4}, t);
  MFL_CHECK(a.height > 0 && a.width > 0 && a.height <= 255 * kSplatTile && a.width <= 255 * kSplatTile, op,
            ": an image of ", a.height, " x ", a.width, "; each side must be 1 to ", 255 * kSplatTile, " pixels");
  MFL_CHECK(n * views < (std::int64_t{1} << 31), op, ": ", n, " Gaussians in ", views,
            " views are more than 2^31 splats; render fewer views at a time");
}

}  // namespace

void project_fwd(const Stream& s, const ProjectFwd& a) {
  check_inputs(s, "project_fwd", a);
  const std::int64_t n = a.xyz.shape[0], views = a.c2w.shape[0];
  check(s, "project_fwd", "splat", a.splat, {views, n, kSplatSize}, a.xyz.dtype);
  check(s, "project_fwd", "depth", a.depth, {views, n}, a.xyz.dtype);
  check(s, "project_fwd", "rect", a.rect, {views, n}, DType::i32);
  MFL_DISPATCH(s, project_fwd, a);
}

void project_bwd(const Stream& s, const ProjectBwd& a) {
  check_inputs(s, "project_bwd", a);
  const std::int64_t n = a.xyz.shape[0], views = a.c2w.shape[0];
  check(s, "project_bwd", "rect", a.rect, {views, n}, DType::i32);
  check(s, "project_bwd", "dsplat", a.dsplat, {views, n, kSplatSize}, a.xyz.dtype);
  if (a.mode == GradMode::ignore) return;
  check(s, "project_bwd", "dxyz", a.dxyz, a.xyz.shape, a.xyz.dtype);
  check(s, "project_bwd", "dfeatures", a.dfeatures, a.features.shape, a.xyz.dtype);
  check(s, "project_bwd", "dscaling", a.dscaling, a.scaling.shape, a.xyz.dtype);
  check(s, "project_bwd", "drotation", a.drotation, a.rotation.shape, a.xyz.dtype);
  check(s, "project_bwd", "dopacity", a.dopacity, a.opacity.shape, a.xyz.dtype);
  MFL_DISPATCH(s, project_bwd, a);
}

}  // namespace mfl
