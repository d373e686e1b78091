#include "kernels/optim/adamw.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void adamw(const Stream& s, const AdamW& in) {
  const char* op = "adamw";
  AdamW a = in;
  MFL_CHECK(a.value && a.value.shape.rank() == 1, op, ": value ", a.value.shape, ", expected one axis");
  MFL_CHECK(a.value.dtype == DType::f32 || a.value.dtype == DType::f64, op, ": value is ", a.value.dtype,
            ", expected f32 or f64");
  MFL_CHECK(a.chunks && a.chunks.shape.rank() == 2, op, ": chunks ", a.chunks.shape, ", expected [chunks, 4]");
  check(s, op, "value", a.value, a.value.shape, a.value.dtype);
  check(s, op, "grad", a.grad, a.value.shape, a.value.dtype);
  check(s, op, "exp_avg", a.exp_avg, a.value.shape, a.value.dtype);
  check(s, op, "exp_avg_sq", a.exp_avg_sq, a.value.shape, a.value.dtype);
  if (a.compute && a.compute.data == a.value.data && a.compute.dtype == a.value.dtype) a.compute = {};
  if (a.compute) check(s, op, "compute", a.compute, a.value.shape, a.compute.dtype);
  check(s, op, "chunks", a.chunks, {a.chunks.shape[0], 4}, DType::i64);
  check(s, op, "scalars", a.scalars, kStepScalarsShape, DType::u8);
  MFL_DISPATCH(s, adamw, a);
}

}  // namespace mfl
