// loss (mode) scale * sum |a - b|, and the gradient to a: scale * weight * sign(a - b), 0 where they are equal.
//
//   The caller's scale holds the mean's divisor, so that parts of one mean can be taken a chunk at a time.
#pragma once

#include "runtime/context.h"

namespace mfl {

struct L1Fwd {
  ConstView a, b;          // [..]  f64 | f32 | bf16, of one type
  double scale = 1;
  View loss;               // [1]   accum type
  GradMode loss_mode = GradMode::overwrite;       // accumulate: loss += ..
  View scratch = {};       // [l1_scratch(numel)] f32, CUDA only
};
void l1_fwd(const Stream&, const L1Fwd&);

struct L1Bwd {
  ConstView a, b;
  double scale = 1, weight = 1;
  View da;                 // [..]  dtype of a
  GradMode da_mode = GradMode::overwrite;
};
void l1_bwd(const Stream&, const L1Bwd&);
std::int64_t l1_scratch(std::int64_t elements);

namespace cpu {
void l1_fwd(const L1Fwd&);
void l1_bwd(const L1Bwd&);
}  // namespace cpu
namespace cuda {
void l1_fwd(const Stream&, const L1Fwd&);
void l1_bwd(const Stream&, const L1Bwd&);
}  // namespace cuda

}  // namespace mfl
