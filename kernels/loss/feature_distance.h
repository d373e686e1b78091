// The LPIPS head of one layer.                                                Zhang et al. 2018, eq. 1; lpips 0.1.4
//
//   With ahat = a / (|a| + 1e-10), |a| the L2 norm over the channels of a pixel, and bhat alike:
//     loss (mode) scale * sum_pixels sum_c head_c (ahat_c - bhat_c)^2
//   The caller's scale holds the divisor of the mean over pixels and images, so that images can be taken a chunk at a time.
#pragma once

#include "runtime/context.h"

namespace mfl {

inline constexpr double kFeatureNormEps = 1e-10;

struct FeatureDistanceFwd {
  ConstView a, b;          // [R.., C]  f64 | f32 | bf16, of one type
  ConstView head;          // [C]  accum type: the 1x1 layer's weights
  double scale = 1;
  View loss;               // [1]  accum type
  GradMode loss_mode = GradMode::overwrite;       // accumulate: loss += ..
  View scratch = {};       // [feature_distance_scratch(R)] f32, CUDA only
};
void feature_distance_fwd(const Stream&, const FeatureDistanceFwd&);

// With g = 2 scale weight head (ahat - bhat):  da = g / (|a| + eps) - a (g . a) / (|a| (|a| + eps)^2).
// A pixel of zeros has no direction: the second term is 0 there (behind a ReLU nothing of it passes on).
struct FeatureDistanceBwd {
  ConstView a, b, head;
  double scale = 1, weight = 1;
  View da;                 // [R.., C]  dtype of a
  GradMode da_mode = GradMode::overwrite;
};
void feature_distance_bwd(const Stream&, const FeatureDistanceBwd&);
std::int64_t feature_distance_scratch(std::int64_t rows);

namespace cpu {
void feature_distance_fwd(const FeatureDistanceFwd&);
void feature_distance_bwd(const FeatureDistanceBwd&);
}  // namespace cpu
namespace cuda {
void feature_distance_fwd(const Stream&, const FeatureDistanceFwd&);
void feature_distance_bwd(const Stream&, const FeatureDistanceBwd&);
}  // namespace cuda

}  // namespace mfl
