// y = scale (mean + exp(logvar / 2) noise): a draw from an autoencoder's diagonal Gaussian, or its mode, scaled.
//                                                     DiagonalGaussianDistribution of diffusers; Kingma and Welling 2014
//   moments [R.., 2 C]: the first C channels are the mean, the last C the log-variance, clamped to [-30, 20]. Computed in
//   f32 (f64 for f64). Forward only: the autoencoder is frozen.
#pragma once

#include "runtime/context.h"

namespace mfl {

struct SamplePosterior {
  ConstView moments;     // [R.., 2 C]  f64 | f32 | bf16
  ConstView noise = {};  // [R.., C]    accum type of y; not given: the mode
  double scale = 1;
  View y;                // [R.., C]    f64 | f32 | bf16; out
};
void sample_posterior(const Stream&, const SamplePosterior&);

namespace cpu {
void sample_posterior(const SamplePosterior&);
}
namespace cuda {
void sample_posterior(const Stream&, const SamplePosterior&);
}

}  // namespace mfl
