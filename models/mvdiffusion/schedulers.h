// Noise schedules, training weights, samplers and the moving average's decay: host tables in f64. What happens to tensors is
// one op, `mix` (kernels/elementwise/mix.h), with the weights that are computed here.
//
//   a_t is the cumulative product of 1 - beta ("alpha bar"), t = 0 .. steps - 1. The published tables are the same numbers
//   rounded to f32 (and to fp16 where training ran in it); the difference is below 1e-4 of any weight.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "runtime/context.h"

namespace mfl::mvdiffusion {

class NoiseSchedule {
 public:
  // beta = linspace(sqrt(first), sqrt(last))^2: Stable Diffusion's training schedule.
  static NoiseSchedule scaled_linear(double first = 0.00085, double last = 0.012, int steps = 1000);
  // a(u) = cos^2((u + 0.008) / 1.008 pi/2), beta_i = min(1 - a((i+1)/steps) / a(i/steps), 0.999): the noise of image
  // embeddings.                                                             Nichol and Dhariwal 2021, eq. 17
  static NoiseSchedule squared_cosine(int steps = 1000);

  int steps() const { return static_cast<int>(alpha_bar_.size()); }
  double alpha_bar(std::int64_t t) const;
  double snr(std::int64_t t) const { return alpha_bar(t) / (1 - alpha_bar(t)); }

  // mix weights of {x0, noise}.
  //   noisy:     x_t = sqrt(a_t) x0 + sqrt(1 - a_t) noise
  //   velocity:  v   = sqrt(a_t) noise - sqrt(1 - a_t) x0                    Salimans and Ho 2022, appendix D
  std::array<double, 2> noisy(std::int64_t t) const;
  std::array<double, 2> velocity(std::int64_t t) const;
  // min(SNR, gamma) / SNR: as published, the form for predicted noise on a velocity target. gamma 0: 1 (plain MSE).
  double loss_weight(std::int64_t t, double gamma) const;

 private:
  explicit NoiseSchedule(std::vector<double> betas);
  std::vector<double> alpha_bar_;
};

// One step from x_t to x_t' of a network that predicts velocity. mix weights, in order:
//   x0    = mix {x, v_conditional, v_unconditional}          the predicted clean latents
//   next  = mix {x, x0, x0 of the step before, noise}        the next x
// Guidance is in them: v = v_u + g (v_c - v_u). A weight of 0 says that the tensor need not exist.
struct SamplerStep {
  std::int64_t t = 0;
  std::array<double, 3> x0{};
  std::array<double, 4> next{};
};

enum class SamplerKind : std::uint8_t { ddim, dpm_solver };
struct SamplerConfig {
  SamplerKind kind = SamplerKind::ddim;
  int steps = 50;
  double guidance = 3.0;   // 1: the conditional network alone
  double eta = 1.0;        // DDIM only: share of ancestral noise; drawn in every step, the last included
  int steps_offset = 1;    // DDIM only; of scheduler_config.json
  bool guided() const { return guidance != 1.0; }
};
// DDIM (Song et al. 2021, eq. 12 and 16) with "leading" timesteps k (T / steps) + offset and a_0 beyond the last one; or
// DPM-Solver++ 2M (Lu et al. 2022, algorithm 2), which draws no noise and needs about half of the steps: timesteps
// evenly from T - 1 down, first order in the first step, the predicted clean latents in the last. Throws ConfigError for an impossible number of steps.
std::vector<SamplerStep> sampler_steps(const NoiseSchedule&, const SamplerConfig&);

// Weights of several steps as mix reads them, on the device, in the accum type of latents: row k is step k.
class SamplerTable {
 public:
  // `arena` keeps the two small tables. Waits for the upload.
  SamplerTable(const Stream&, Arena&, DType accum, std::vector<SamplerStep>);
  const std::vector<SamplerStep>& steps() const { return steps_; }
  // x becomes the next x, in place; x0 becomes this step's prediction. v [N, ..], or [2 N, ..] with the unconditional
  // half first; x0_before the last step's x0 (not read where its weight is 0); noise [N, ..], not read where it is 0.
  void advance(const Stream&, std::size_t step, View x, ConstView v, ConstView x0_before, ConstView noise, View x0) const;

 private:
  std::vector<SamplerStep> steps_;
  Tensor x0_, next_;       // [steps, 3], [steps, 4]
};

// Decay of update k = 1, 2, ... of the moving average: with s = k - 1, 0 if s = 0 (a copy), else
// min((1 + s) / (10 + s), limit). The counter must survive a resume.                          EMAModel of diffusers
double ema_decay(std::int64_t update, double limit = 0.9999);

}  // namespace mfl::mvdiffusion
