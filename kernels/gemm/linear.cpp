#include "kernels/gemm/linear.h"

#include "kernels/common/dispatch.h"

namespace mfl {
namespace {

// [.., C] like `rows`, with another last axis.
Shape with_last(Shape rows, std::int64_t last) {
  rows[-1] = last;
  return rows;
}

// A result is stored in the compute or in the accum type.
void check_result(const char* op, const char* name, const ConstView& v, DType compute) {
  MFL_CHECK(v.dtype == compute || v.dtype == accum_of(compute), op, ": ", name, " is ", v.dtype, ", expected ", compute,
            " or ", accum_of(compute));
}

}  // namespace

GemmOptions& gemm_options() {
  static GemmOptions options;
  return options;
}

std::int64_t gemm_workspace_bytes(Device d) { return d.is_cpu() ? 0 : std::int64_t{32} << 20; }

void linear_fwd(const Stream& s, const LinearFwd& a) {
  const char* op = "linear_fwd";
  MFL_CHECK(a.x && a.x.shape.rank() >= 1, op, ": x is missing");
  MFL_CHECK(a.weight && a.weight.shape.rank() == 2 && a.weight.shape[1] == a.x.shape[-1], op, ": x ", a.x.shape,
            " against weight ", a.weight.shape);
  const std::int64_t n = a.weight.shape[0];
  check(s, op, "x", a.x, a.x.shape, a.x.dtype);
  check(s, op, "weight", a.weight, a.weight.shape, a.x.dtype);
  if (a.bias) check(s, op, "bias", a.bias, {n}, accum_of(a.x.dtype));
  check(s, op, "y", a.y, with_last(a.x.shape, n), a.y.dtype);
  check_result(op, "y", a.y, a.x.dtype);
  MFL_DISPATCH(s, linear_fwd, a);
}

void linear_bwd_input(const Stream& s, const LinearBwdInput& a) {
  if (a.dx_mode == GradMode::ignore) return;
  const char* op = "linear_bwd_input";
  MFL_CHECK(a.dy && a.dy.shape.rank() >= 1, op, ": dy is missing");
  MFL_CHECK(a.weight && a.weight.shape.rank() == 2 && a.weight.shape[0] == a.dy.shape[-1], op, ": dy ", a.dy.shape,
            " against weight ", a.weight.shape);
  check(s, op, "dy", a.dy, a.dy.shape, a.weight.dtype);
  check(s, op, "weight", a.weight, a.weight.shape, a.weight.dtype);
  check(s, op, "dx", a.dx, with_last(a.dy.shape, a.weight.shape[1]), a.dx.dtype);
  check_result(op, "dx", a.dx, a.weight.dtype);
  MFL_DISPATCH(s, linear_bwd_input, a);
}

void linear_bwd_weight(const Stream& s, const LinearBwdWeight& a) {
  if (a.dw_mode == GradMode::ignore) return;
  const char* op = "linear_bwd_weight";
  MFL_CHECK(a.x && a.x.shape.rank() >= 1, op, ": x is missing");
  MFL_CHECK(a.dy && a.dy.shape.rank() == a.x.shape.rank(), op, ": dy ", a.dy.shape, " against x ", a.x.shape);
  const std::int64_t n = a.dy.shape[-1];
  check(s, op, "x", a.x, a.x.shape, a.x.dtype);
  check(s, op, "dy", a.dy, with_last(a.x.shape, n), a.x.dtype);
  check(s, op, "dweight", a.dweight, {n, a.x.shape[-1]}, accum_of(a.x.dtype));
  if (a.dbias) check(s, op, "dbias", a.dbias, {n}, accum_of(a.x.dtype));
  MFL_DISPATCH(s, linear_bwd_weight, a);
}

}  // namespace mfl
