// AdamW over flat buffers, in PyTorch's order of operations.              Loshchilov and Hutter 2019; torch.optim.AdamW
//
//   With the step's scalars (step_scalars.h) and the chunk's group, for every element; nothing is touched if apply is 0:
//     g = grad_scale * grad,  lr = learning_rate * group.learning_rate_factor
//     p = p * (1 - lr * group.weight_decay)
//     m = m + (1 - beta1) * (g - m)
//     v = beta2 * v + (1 - beta2) * g * g
//     p = p - lr / bias1 * m / (sqrt(v) / sqrt(bias2) + eps)
//   and, in the same pass, the copy of p in the compute type. Gradients are left as they are.
#pragma once

#include <array>

#include "kernels/optim/step_scalars.h"

namespace mfl {

struct AdamWGroup {
  double learning_rate_factor = 1, weight_decay = 0;
};
inline constexpr std::size_t kAdamWGroups = 4;

struct AdamW {
  View value;         // [n]          f32 | f64, in and out: the masters
  ConstView grad;     // [n]          the same dtype
  View exp_avg;       // [n]          the same dtype, in and out: m
  View exp_avg_sq;    // [n]          the same dtype, in and out: v
  View compute = {};  // [n]          any float, out: what matrix products read; not given, or the memory of value: none
  ConstView chunks;   // [chunks, 4]  i64: chunk_table of the trainable segments
  ConstView scalars;  // [sizeof(StepScalars)] u8
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  std::array<AdamWGroup, kAdamWGroups> groups = {};   // by the chunks' group index
};
void adamw(const Stream&, const AdamW&);

namespace cpu {
void adamw(const AdamW&);
}  // namespace cpu
namespace cuda {
void adamw(const Stream&, const AdamW&);
}  // namespace cuda

}  // namespace mfl
