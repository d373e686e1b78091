#include "kernels/norm/layer_norm.h"

#include <algorithm>

#include "kernels/common/dispatch.h"

namespace mfl {

void layer_norm_fwd(const Stream& s, const LayerNormFwd& a) {
  MFL_CHECK(a.x && a.x.shape.rank() >= 1, "layer_norm_fwd: x is missing");
  const DType accum = accum_of(a.x.dtype);
  const Shape c{a.x.shape[-1]}, r{a.x.shape.rows()};
  check(s, "layer_norm_fwd", "x", a.x, a.x.shape, a.x.dtype);
  check(s, "layer_norm_fwd", "weight", a.weight, c, accum);
  if (a.bias) check(s, "layer_norm_fwd", "bias", a.bias, c, accum);
  check(s, "layer_norm_fwd", "y", a.y, a.x.shape, a.y.dtype);
  if (a.mean || a.rstd) {
    check(s, "layer_norm_fwd", "mean", a.mean, r, accum);
    check(s, "layer_norm_fwd", "rstd", a.rstd, r, accum);
  }
  MFL_DISPATCH(s, layer_norm_fwd, a);
}

void layer_norm_bwd(const Stream& s, const LayerNormBwd& a) {
  MFL_CHECK(a.x && a.x.shape.rank() >= 1, "layer_norm_bwd: x is missing");
  const DType accum = accum_of(a.x.dtype);
  const Shape c{a.x.shape[-1]}, r{a.x.shape.rows()};
  check(s, "layer_norm_bwd", "x", a.x, a.x.shape, a.x.dtype);
  check(s, "layer_norm_bwd", "weight", a.weight, c, accum);
  check(s, "layer_norm_bwd", "mean", a.mean, r, accum);
  check(s, "layer_norm_bwd", "rstd", a.rstd, r, accum);
  check(s, "layer_norm_bwd", "dy", a.dy, a.x.shape, a.dy.dtype);
  if (a.dx_mode != GradMode::ignore) check(s, "layer_norm_bwd", "dx", a.dx, a.x.shape, a.x.dtype);
  if (a.dw_mode != GradMode::ignore) {
    check(s, "layer_norm_bwd", "dweight", a.dweight, c, accum);
    if (a.dbias) check(s, "layer_norm_bwd", "dbias", a.dbias, c, accum);
    if (s.device().is_cuda())
      check(s, "layer_norm_bwd", "scratch", a.scratch, {layer_norm_bwd_scratch(r[0], c[0])}, DType::f32);
  }
  MFL_DISPATCH(s, layer_norm_bwd, a);
}

std::int64_t layer_norm_bwd_scratch(std::int64_t rows, std::int64_t channels) {
  return 2 * channels * std::clamp<std::int64_t>((rows + 63) / 64, 1, 512);
}

}  // namespace mfl
