// y = x * sigmoid(x).                                                       Elfwing et al. 2017; nn.SiLU of PyTorch
//
//   All views of one shape and dtype, f64 | f32 | bf16; computed in f32 (f64 for f64). y may be x, dx may be dy.
#pragma once

#include "runtime/context.h"

namespace mfl {

struct SiluFwd {
  ConstView x;  // any shape
  View y;       // out
};
void silu_fwd(const Stream&, const SiluFwd&);

// dx = dy * s * (1 + x * (1 - s)), s = sigmoid(x)
struct SiluBwd {
  ConstView x, dy;
  View dx;      // out
  GradMode dx_mode = GradMode::overwrite;
};
void silu_bwd(const Stream&, const SiluBwd&);

namespace cpu {
void silu_fwd(const SiluFwd&);
void silu_bwd(const SiluBwd&);
}  // namespace cpu
namespace cuda {
void silu_fwd(const Stream&, const SiluFwd&);
void silu_bwd(const Stream&, const SiluBwd&);
}  // namespace cuda

}  // namespace mfl
