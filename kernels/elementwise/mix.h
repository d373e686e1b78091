// y[n, i] = sum_k weights[n, k] x_k[n, i]: a linear combination with weights of its own for every sample.
//
//   Everything that diffusion does to latents around the network is one of these: adding noise, the velocity, guidance,
//   a sampler's step (models/mvdiffusion/schedulers.h gives the weights). N samples, K terms, at most four; `..` the
//   rest of a sample. Every x_k and y has a type of its own, f64 | f32 | bf16 (f32 and bf16 on CUDA). The sum is f32
//   (f64 for f64), in the order of k, rounded once. A term of weight 0 is not read: it may hold anything.
#pragma once

#include <array>

#include "runtime/context.h"

namespace mfl {

inline constexpr int kMixTerms = 4;

struct Mix {
  std::array<ConstView, kMixTerms> x{};  // [N, ..]  the first K are given
  ConstView weights;                     // [N, K] or [1, K] (the same for every sample), accum type of y
  View y;                                // [N, ..]  out; may be any x_k of its own type
};
void mix(const Stream&, const Mix&);

namespace cpu {
void mix(const Mix&);
}
namespace cuda {
void mix(const Stream&, const Mix&);
}

}  // namespace mfl
