// y = x * 0.5 * (1 + erf(x / sqrt 2)): the exact GELU.                  Hendrycks and Gimpel 2016; nn.GELU() of PyTorch
//
//   Not the tanh form, which is what cuBLASLt's GELU epilogue computes; the published weights were trained with this
//   one. All views of one shape and dtype, f64 | f32 | bf16; computed in f32 (f64 for f64). y may be x, dx may be dy.
#pragma once

#include "runtime/context.h"

namespace mfl {

struct GeluFwd {
  ConstView x;  // any shape
  View y;       // out
};
void gelu_fwd(const Stream&, const GeluFwd&);

// dx = dy * (0.5 * (1 + erf(x / sqrt 2)) + x * exp(-x^2 / 2) / sqrt(2 pi))
struct GeluBwd {
  ConstView x;
  ConstView dy;
  View dx;  // out
  GradMode dx_mode = GradMode::overwrite;
};
void gelu_bwd(const Stream&, const GeluBwd&);

namespace cpu {
void gelu_fwd(const GeluFwd&);
void gelu_bwd(const GeluBwd&);
}  // namespace cpu
namespace cuda {
void gelu_fwd(const Stream&, const GeluFwd&);
void gelu_bwd(const Stream&, const GeluBwd&);
}  // namespace cuda

}  // namespace mfl
