#include "kernels/loss/weighted_mse.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void weighted_mse_fwd(const Stream& s, const WeightedMseFwd& a) {
  const char* op = "weighted_mse_fwd";
  MFL_CHECK(a.x && a.x.shape.rank() >= 1 && a.x.numel() > 0, op, ": x ", a.x.shape, " must not be empty");
  const DType accum = accum_of(a.x.dtype);
  const Shape n{a.x.shape[0]};
  check(s, op, "x", a.x, a.x.shape, a.x.dtype);
  check(s, op, "target", a.target, a.x.shape, accum);
  check(s, op, "weights", a.weights, n, accum);
  check(s, op, "loss", a.loss, {1}, accum);
  check(s, op, "per_sample", a.per_sample, n, accum);
  MFL_DISPATCH(s, weighted_mse_fwd, a);
}

void weighted_mse_bwd(const Stream& s, const WeightedMseBwd& a) {
  const char* op = "weighted_mse_bwd";
  MFL_CHECK(a.x && a.x.shape.rank() >= 1 && a.x.numel() > 0, op, ": x ", a.x.shape, " must not be empty");
  const DType accum = accum_of(a.x.dtype);
  check(s, op, "x", a.x, a.x.shape, a.x.dtype);
  check(s, op, "target", a.target, a.x.shape, accum);
  check(s, op, "weights", a.weights, {a.x.shape[0]}, accum);
  if (a.dx_mode == GradMode::ignore) return;
  check(s, op, "dx", a.dx, a.x.shape, a.x.dtype);
  MFL_DISPATCH(s, weighted_mse_bwd, a);
}

}  // namespace mfl
