// The class vector of SD-unCLIP: an image embedding with noise, and the sinusoid of the noise level beside it.
//   y[n, c]     = keep[n] (sqrt(abar) (e[n / R, c] - mean[c]) + mean[c] + sqrt(1 - abar) std[c] noise[n, c])
//   y[n, C + i] = keep[n] cos(level w_i),  y[n, C + C/2 + i] = keep[n] sin(level w_i),  w_i = 10000^(-2i/C), i < C/2
//                      noise_image_embeddings of diffusers' StableUnCLIPImg2ImgPipeline; the normaliser's mean and std
//
//   B embeddings of C values, each repeated for R samples (the views of an object share one image): N = B R. Forward
//   only: the encoder is frozen. Computed in f32 (f64 for f64); the sinusoid in f64.
#pragma once

#include "runtime/context.h"

namespace mfl {

struct NoiseEmbedding {
  ConstView embedding;   // [B, C]   f64 | f32 | bf16
  ConstView mean, std;   // [C]      accum type of y
  ConstView noise;       // [N, C]   accum type of y
  ConstView keep = {};   // [N]      accum type of y; not given: 1. 0 drops the whole vector, its constant half included
  double alpha_bar = 1;  // of the level, from the embedding-noise schedule
  std::int64_t level = 0;
  View y;                // [N, 2 C] f64 | f32 | bf16; out
};
void noise_embedding(const Stream&, const NoiseEmbedding&);

namespace cpu {
void noise_embedding(const NoiseEmbedding&);
}
namespace cuda {
void noise_embedding(const Stream&, const NoiseEmbedding&);
}

}  // namespace mfl
