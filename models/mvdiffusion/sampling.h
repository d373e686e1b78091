// Views from noise: the sampler's loop around a network that predicts velocity. Guidance is one batched pass of twice the
// samples, the unconditional half (zeros for the condition and the class vector, the same text) first.
#pragma once

#include <functional>

#include "models/mvdiffusion/schedulers.h"
#include "runtime/module.h"

namespace mfl::mvdiffusion {

// M samples in a call: N, or 2 N under guidance.
struct NetworkInput {
  Tensor sample;         // [M, h, w, 2 C] compute type: latents, then the condition
  Tensor timesteps;      // [M] accum type
  Tensor class_labels;   // [M, L] compute type
  Tensor text;           // [M, tokens, width] compute type
};
using Network = std::function<Tensor(Ctx&, const NetworkInput&)>;   // -> velocity [M, h, w, C]

struct SamplingInput {
  Tensor condition;      // [N, h, w, C] or one per object [O, h, w, C], accum type, scaled latents
  Tensor class_labels;   // [N, L] compute type: class_vectors()
  Tensor text;           // [N, tokens, width] compute type
  Tensor streams;        // [N] i32: sample n draws its noise from (seed, streams[n]), whatever the batch
  std::uint64_t seed = 0;
};
// Draw 0 is the initial latents, draw k + 1 the noise of step k.
using NoiseSource = std::function<void(std::size_t draw, View into)>;

// Scaled latents [N, h, w, C] accum type. `noise` replaces the Philox draws (tests against another generator).
Tensor sample_latents(Ctx&, const SamplerTable&, const SamplingInput&, const Network&, const NoiseSource& noise = {});

}  // namespace mfl::mvdiffusion
