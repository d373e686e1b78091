// The diffusion loss: the squared error of every sample, averaged over its elements, weighted, averaged over samples:
//   loss = 1/N sum_n weights[n] / M sum_i (x[n, i] - target[n, i])^2       min-SNR weights: Hang et al. 2023, section 3.4
//
//   N samples of M elements. Sums in f32 (f64 for f64) in a fixed order.
#pragma once

#include "runtime/context.h"

namespace mfl {

struct WeightedMseFwd {
  ConstView x;         // [N, ..]  f64 | f32 | bf16: the network's output
  ConstView target;    // [N, ..]  accum type of x
  ConstView weights;   // [N]      accum type of x
  View loss;           // [1]      accum type of x; out
  View per_sample;     // [N]      accum type of x; out: weights[n] / M sum_i ..
};
void weighted_mse_fwd(const Stream&, const WeightedMseFwd&);

// dx (mode) weight * dloss/dx = weight * 2 weights[n] (x - target) / (N M)
struct WeightedMseBwd {
  ConstView x, target, weights;
  double weight = 1;   // of the loss: 1 / accumulation
  View dx;             // [N, ..]  x's type
  GradMode dx_mode = GradMode::overwrite;
};
void weighted_mse_bwd(const Stream&, const WeightedMseBwd&);

namespace cpu {
void weighted_mse_fwd(const WeightedMseFwd&);
void weighted_mse_bwd(const WeightedMseBwd&);
}  // namespace cpu
namespace cuda {
void weighted_mse_fwd(const Stream&, const WeightedMseFwd&);
void weighted_mse_bwd(const Stream&, const WeightedMseBwd&);
}  // namespace cuda

}  // namespace mfl
