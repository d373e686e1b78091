#include "kernels/gaussian/align_loss.h"

#include "kernels/embed/camera_check.h"

namespace mfl {
namespace {

// Returns {B, V}.
Shape check_points(const Stream& s, const char* op, const char* name, const ConstView& xyz, const PixelGrid& g,
                   DType dtype) {
  const Shape bv = check_cameras(s, op, g.c2w, g.fxfycxcy);
  check_patch(op, g.patch, g.height, g.width);
  MFL_CHECK(dtype == DType::f32 || dtype == DType::f64, op, ": ", name, " is ", dtype, ", expected f32 or f64");
  check_batch(s, op, name, xyz, {bv[0], bv[1] * g.height * g.width, 3}, dtype);
  return bv;
}

void check_scratch(const Stream& s, const char* op, const ConstView& scratch, const Shape& bv) {
  if (s.device().is_cuda()) check(s, op, "scratch", scratch, {align_scratch(bv[0] * bv[1])}, DType::f64);
}

void check_target(const Stream& s, const char* op, const ConstView& target, const PixelGrid& g, const Shape& bv) {
  if (target) check_batch(s, op, "target", target, {bv[0], bv[1], g.height, g.width, 4}, DType::f32);
}

}  // namespace

std::int64_t align_scratch(std::int64_t views) { return 3 * 64 * views; }

void pixel_align_fwd(const Stream& s, const PixelAlignFwd& a) {
  const char* op = "pixel_align_fwd";
  const Shape bv = check_points(s, op, "xyz", a.xyz, a.grid, a.xyz.dtype);
  check_target(s, op, a.target, a.grid, bv);
  check(s, op, "loss", a.loss, {1}, a.xyz.dtype);
  check_scratch(s, op, a.scratch, bv);
  MFL_DISPATCH(s, pixel_align_fwd, a);
}

void pixel_align_bwd(const Stream& s, const PixelAlignBwd& a) {
  if (a.dxyz_mode == GradMode::ignore) return;
  const char* op = "pixel_align_bwd";
  const Shape bv = check_points(s, op, "xyz", a.xyz, a.grid, a.xyz.dtype);
  check_target(s, op, a.target, a.grid, bv);
  check_points(s, op, "dxyz", a.dxyz, a.grid, a.xyz.dtype);
  MFL_DISPATCH(s, pixel_align_bwd, a);
}

void points_dist_fwd(const Stream& s, const PointsDistFwd& a) {
  const char* op = "points_dist_fwd";
  const Shape bv = check_points(s, op, "xyz", a.xyz, a.grid, a.xyz.dtype);
  MFL_CHECK(a.grid.height * a.grid.width >= 2, op, ": a standard deviation needs two pixels a view");
  check(s, op, "loss", a.loss, {1}, a.xyz.dtype);
  check(s, op, "stats", a.stats, {bv[0], bv[1], 2}, a.xyz.dtype);
  check_scratch(s, op, a.scratch, bv);
  MFL_DISPATCH(s, points_dist_fwd, a);
}

void points_dist_bwd(const Stream& s, const PointsDistBwd& a) {
  if (a.dxyz_mode == GradMode::ignore) return;
  const char* op = "points_dist_bwd";
  const Shape bv = check_points(s, op, "xyz", a.xyz, a.grid, a.xyz.dtype);
  check(s, op, "stats", a.stats, {bv[0], bv[1], 2}, a.xyz.dtype);
  check_points(s, op, "dxyz", a.dxyz, a.grid, a.xyz.dtype);
  MFL_DISPATCH(s, points_dist_bwd, a);
}

}  // namespace mfl
