#include "kernels/optim/grad_norm.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void grad_norm(const Stream& s, const GradNorm& a) {
  const char* op = "grad_norm";
  MFL_CHECK(a.grad && a.grad.shape.rank() == 1, op, ": grad ", a.grad.shape, ", expected one axis");
  MFL_CHECK(a.chunks && a.chunks.shape.rank() == 2, op, ": chunks ", a.chunks.shape, ", expected [chunks, 4]");
  check(s, op, "grad", a.grad, a.grad.shape, a.grad.dtype);
  MFL_CHECK(a.grad.dtype == DType::f32 || a.grad.dtype == DType::f64, op, ": grad is ", a.grad.dtype,
            ", expected f32 or f64");
  check(s, op, "chunks", a.chunks, {a.chunks.shape[0], 4}, DType::i64);
  check(s, op, "partial", a.partial, {a.chunks.shape[0]}, DType::f64);
  check(s, op, "scalars", a.scalars, kStepScalarsShape, DType::u8);
  MFL_DISPATCH(s, grad_norm, a);
}

void decide_update(const Stream& s, const DecideUpdate& a) {
  const char* op = "decide_update";
  check(s, op, "scalars", a.scalars, kStepScalarsShape, DType::u8);
  if (a.loss) {
    check(s, op, "loss", a.loss, a.loss.shape, a.loss.dtype);
    MFL_CHECK(a.loss.dtype == DType::f32 || a.loss.dtype == DType::f64, op, ": loss is ", a.loss.dtype,
              ", expected f32 or f64");
  }
  MFL_DISPATCH(s, decide_update, a);
}

}  // namespace mfl
