// y = act((x - mean) * rstd * weight + bias), mean and variance over the pixels and the channels of one group of one
// image; act is SiLU, z * sigmoid(z), or nothing.                                        Wu and He 2018; Elfwing et al. 2017
//
//   N images, H W pixels (the axes between the first and the last, flattened), C channels in G groups of neighbours.
//   x and y are of one dtype, f64 | f32 | bf16; statistics, weight, bias and their gradients f32 (f64 for f64). y may be x
//   where backward does not follow.
#pragma once

#include "runtime/context.h"

namespace mfl {

struct GroupNormFwd {
  ConstView x;                // [N, .., C]
  int groups = 32;            // divides C
  ConstView weight, bias;     // [C]     accum type
  float eps = 1e-5f;          // added to the biased variance
  bool silu = false;
  View y;                     // [N, .., C]  out, dtype of x
  View mean = {}, rstd = {};  // [N, G]  out, accum type, kept for backward; not given: not kept
  View scratch = {};          // [group_norm_fwd_scratch(x, groups)] f32, CUDA only: partial sums
};
void group_norm_fwd(const Stream&, const GroupNormFwd&);
std::int64_t group_norm_fwd_scratch(const Shape& x, int groups);

// With xhat = (x - mean) * rstd, z = xhat * weight + bias, dz = dy * act'(z), g = dz * weight and means over the group:
//   dx = rstd * (g - mean(g) - xhat * mean(g * xhat)),  dweight = sum dz * xhat,  dbias = sum dz.
struct GroupNormBwd {
  ConstView x;             // [N, .., C]
  int groups = 32;
  ConstView weight, bias;  // [C]
  ConstView mean, rstd;    // [N, G]
  bool silu = false;
  ConstView dy;            // [N, .., C]  dtype of x
  View dx;                 // [N, .., C]  dtype of x; may be dy where dx_mode overwrites
  GradMode dx_mode = GradMode::overwrite;
  View dweight, dbias;     // [C]         accum type
  GradMode dw_mode = GradMode::overwrite;  // of both; ignore: frozen
  View scratch = {};       // [group_norm_bwd_scratch(x, groups)] f32, CUDA only: partial sums
};
void group_norm_bwd(const Stream&, const GroupNormBwd&);
std::int64_t group_norm_bwd_scratch(const Shape& x, int groups);

// Blocks that share one image's pixels on CUDA; part of the scratch's size.
std::int64_t group_norm_parts(const Shape& x);

namespace cpu {
void group_norm_fwd(const GroupNormFwd&);
void group_norm_bwd(const GroupNormBwd&);
}  // namespace cpu
namespace cuda {
void group_norm_fwd(const Stream&, const GroupNormFwd&);
void group_norm_bwd(const Stream&, const GroupNormBwd&);
}  // namespace cuda

}  // namespace mfl
