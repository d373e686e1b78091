#include "kernels/norm/group_norm.h"

#include <algorithm>

#include "kernels/common/dispatch.h"

namespace mfl {
namespace {

void check_groups(const char* op, const ConstView& x, int groups) {
  MFL_CHECK(x && x.shape.rank() >= 2, op, ": x ", x.shape, ", expected [N, .., C]");
  MFL_CHECK(groups >= 1 && x.shape[-1] % groups == 0, op, ": ", groups, " groups do not divide ", x.shape[-1], " channels");
  MFL_CHECK(x.numel() > 0, op, ": x ", x.shape, " is empty");
}

}  // namespace

std::int64_t group_norm_parts(const Shape& x) {
  const std::int64_t pixels = x.rows() / std::max<std::int64_t>(x[0], 1);
  return std::clamp<std::int64_t>(pixels / 128, 1, 128);
}

// Two sums a group of every part, and one shift.
std::int64_t group_norm_fwd_scratch(const Shape& x, int groups) { return (2 * group_norm_parts(x) + 1) * x[0] * groups; }

// Two sums a channel, for every part and for every image; two means a group.
std::int64_t group_norm_bwd_scratch(const Shape& x, int groups) {
  return 2 * x[0] * ((group_norm_parts(x) + 1) * x[-1] + groups);
}

void group_norm_fwd(const Stream& s, const GroupNormFwd& a) {
  const char* op = "group_norm_fwd";
  check_groups(op, a.x, a.groups);
  const DType accum = accum_of(a.x.dtype);
  const Shape c{a.x.shape[-1]}, statistics{a.x.shape[0], a.groups};
  check(s, op, "x", a.x, a.x.shape, a.x.dtype);
  check(s, op, "weight", a.weight, c, accum);
  check(s, op, "bias", a.bias, c, accum);
  check(s, op, "y", a.y, a.x.shape, a.x.dtype);
  if (a.mean || a.rstd) {
    check(s, op, "mean", a.mean, statistics, accum);
    check(s, op, "rstd", a.rstd, statistics, accum);
  }
  if (s.device().is_cuda()) check(s, op, "scratch", a.scratch, {group_norm_fwd_scratch(a.x.shape, a.groups)}, DType::f32);
  MFL_DISPATCH(s, group_norm_fwd, a);
}

void group_norm_bwd(const Stream& s, const GroupNormBwd& a) {
  const char* op = "group_norm_bwd";
  check_groups(op, a.x, a.groups);
  const DType accum = accum_of(a.x.dtype);
  const Shape c{a.x.shape[-1]}, statistics{a.x.shape[0], a.groups};
  check(s, op, "x", a.x, a.x.shape, a.x.dtype);
  check(s, op, "weight", a.weight, c, accum);
  check(s, op, "bias", a.bias, c, accum);
  check(s, op, "mean", a.mean, statistics, accum);
  check(s, op, "rstd", a.rstd, statistics, accum);
  check(s, op, "dy", a.dy, a.x.shape, a.x.dtype);
  if (a.dx_mode != GradMode::ignore) check(s, op, "dx", a.dx, a.x.shape, a.x.dtype);
  if (a.dw_mode != GradMode::ignore) {
    check(s, op, "dweight", a.dweight, c, accum);
    check(s, op, "dbias", a.dbias, c, accum);
  }
  if (s.device().is_cuda()) check(s, op, "scratch", a.scratch, {group_norm_bwd_scratch(a.x.shape, a.groups)}, DType::f32);
  MFL_DISPATCH(s, group_norm_bwd, a);
}

}  // namespace mfl
