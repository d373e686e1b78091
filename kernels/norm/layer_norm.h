// y = (x - mean) * rstd * weight + bias, per row.                                       Ba et al. 2016, eq. 4
//
//   R rows (every axis but the last), C channels. x is f32, bf16 or f64; y may be narrower than x (the residual stream is
//   f32, the matrix product that follows reads bf16). Statistics, weight, bias and their gradients are f32 (f64 for f64).
#pragma once

#include "runtime/context.h"

namespace mfl {

struct LayerNormFwd {
  ConstView x;             // [R.., C]  f64 | f32 | bf16
  ConstView weight;        // [C]       accum type
  ConstView bias = {};     // [C]       accum type; not given: no bias
  float eps = 1e-5f;       // added to the biased variance
  View y;                  // [R.., C]  out; dtype of its own
  View mean = {}, rstd = {};  // [R]    out, accum type, kept for backward; not given: not kept
};
void layer_norm_fwd(const Stream&, const LayerNormFwd&);

// With xhat = (x - mean) * rstd and g = dy * weight:
//   dx = rstd * (g - mean_C(g) - xhat * mean_C(g * xhat)),  dweight = sum_R dy * xhat,  dbias = sum_R dy.
struct LayerNormBwd {
  ConstView x;             // [R.., C]
  ConstView weight;        // [C]
  ConstView mean, rstd;    // [R]
  ConstView dy;            // [R.., C]  dtype of y
  View dx;                 // [R.., C]  dtype of x
  GradMode dx_mode = GradMode::overwrite;   // accumulate: dx is the residual stream's gradient
  View dweight;            // [C]       accum type
  View dbias = {};         // [C]       not given: no bias
  GradMode dw_mode = GradMode::overwrite;   // ignore: frozen
  View scratch = {};       // [layer_norm_bwd_scratch(R, C)] f32, CUDA only: per-block partial sums, so that the sum's
                           // order is fixed
};
void layer_norm_bwd(const Stream&, const LayerNormBwd&);
std::int64_t layer_norm_bwd_scratch(std::int64_t rows, std::int64_t channels);

namespace cpu {
void layer_norm_fwd(const LayerNormFwd&);
void layer_norm_bwd(const LayerNormBwd&);
}  // namespace cpu
namespace cuda {
void layer_norm_fwd(const Stream&, const LayerNormFwd&);
void layer_norm_bwd(const Stream&, const LayerNormBwd&);
}  // namespace cuda

}  // namespace mfl
