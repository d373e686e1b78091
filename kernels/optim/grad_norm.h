// The global gradient norm, and the decision whether and how a step is applied.           clip_grad_norm_ of PyTorch
#pragma once

#include "kernels/optim/step_scalars.h"

namespace mfl {

// scalars.norm = sqrt(sum of grad^2 over the chunks), squares summed in the order of the chunks; scalars.bad_segment =
// the first segment whose sum is not finite (as its squares overflow f32, so does a gradient beyond 1e19), or -1.
struct GradNorm {
  ConstView grad;    // [n]          f32 | f64: the flat gradient buffer
  ConstView chunks;  // [chunks, 4]  i64: chunk_table of the trainable segments
  View partial;      // [chunks]     f64: scratch
  View scalars;      // [sizeof(StepScalars)] u8; norm and bad_segment are written
};
void grad_norm(const Stream&, const GradNorm&);

// With norm = factor * scalars.norm (stored back):
//   outcome  non_finite  if a gradient or any of `loss` is not finite; then
//            norm_skip   if max_norm > 0, allowed_factor > 0 and norm > allowed_factor * max_norm; then
//            clipped     if max_norm > 0 and max_norm / (norm + 1e-6) < 1; else applied
//   apply = clipped or applied;  grad_scale = factor * min(1, max_norm / (norm + 1e-6))
//   if applied: updates += 1.  bias1 = 1 - beta1^updates, bias2 = 1 - beta2^updates.
// A step that is not applied does not count as an update, as in PyTorch, where the optimizer is then not called.
struct DecideUpdate {
  View scalars;               // [sizeof(StepScalars)] u8; in and out
  ConstView loss = {};        // [m] f32 | f64; not given: not looked at. Ranks must agree: reduce it first
  double factor = 1;          // 1 / (ranks * micro-batches) where the buffer holds a sum
  double max_norm = 0;        // training.grad_clip_norm; <= 0: no clipping
  double allowed_factor = 0;  // training.allowed_gradnorm_factor; <= 0: no rule
  double beta1 = 0.9, beta2 = 0.95;
};
void decide_update(const Stream&, const DecideUpdate&);

namespace cpu {
void grad_norm(const GradNorm&);
void decide_update(const DecideUpdate&);
}  // namespace cpu
namespace cuda {
void grad_norm(const Stream&, const GradNorm&);
void decide_update(const Stream&, const DecideUpdate&);
}  // namespace cuda

}  // namespace mfl
