// y = softmax(scale x) over the last axis, forward only: between the two matrix products of an attention whose head is too
// wide for the fused kernel (the VAE's single head of 512), in a network that is not trained.
//
//   R rows of C values. Exponentials and sums in f32 (f64 for f64) after the row's maximum is taken off. y may be x.
#pragma once

#include "runtime/context.h"

namespace mfl {

struct SoftmaxFwd {
  ConstView x;        // [R.., C]  f64 | f32 | bf16
  double scale = 1;
  View y;             // [R.., C]  f64 | f32 | bf16, a type of its own; out
};
void softmax_fwd(const Stream&, const SoftmaxFwd&);

namespace cpu {
void softmax_fwd(const SoftmaxFwd&);
}
namespace cuda {
void softmax_fwd(const Stream&, const SoftmaxFwd&);
}

}  // namespace mfl
