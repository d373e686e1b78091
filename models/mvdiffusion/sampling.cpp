#include "models/mvdiffusion/sampling.h"

#include "kernels/elementwise/cast.h"
#include "kernels/elementwise/normal.h"
#include "models/mvdiffusion/conditioning.h"
#include "runtime/profile.h"

namespace mfl::mvdiffusion {
namespace {

// [zeros or x; x]
Tensor doubled(Ctx& cx, const Tensor& x, bool zeros) {
  Shape shape = x.shape();
  const std::int64_t n = shape[0];
  shape[0] = 2 * n;
  Tensor y = cx.arena.empty(shape, x.dtype(), {"guidance halves"});
  const Tensor first = y.rows(0, n);
  if (zeros) fill_(cx.stream, {.x = first, .value = 0});
  else copy(cx.stream, x, first);
  copy(cx.stream, x, y.rows(n, n));
  return y;
}

}  // namespace

Tensor sample_latents(Ctx& cx, const SamplerTable& table, const SamplingInput& in, const Network& network,
                      const NoiseSource& noise) {
  Range range("sampling");
  Saving off(cx, false);
  MFL_CHECK(!table.steps().empty(), "sampling with a table of no steps");
  const bool guided = table.steps()[0].x0[2] != 0;
  const std::int64_t n = in.class_labels.shape()[0];
  Shape shape = in.condition.shape();
  shape[0] = n;
  const NoiseSource draw = noise ? noise : [&](std::size_t k, View into) {
    fill_normal(cx.stream, {.x = into, .streams = in.streams, .seed = in.seed, .purpose = Draw::sampler, .step = k});
  };
  Tensor x = cx.accum(shape, {"latents"}), before, z;
  draw(0, x);
  NetworkInput call{{}, cx.accum({guided ? 2 * n : n}, {"timesteps"}), guided ? doubled(cx, in.class_labels, true) : in.class_labels,
                    guided ? doubled(cx, in.text, false) : in.text};
  const Tensor condition = guided ? doubled(cx, in.condition, true) : in.condition;
  for (std::size_t k = 0; k < table.steps().size(); ++k) {
    const SamplerStep& step = table.steps()[k];
    call.sample = join_condition(cx, guided ? doubled(cx, x, false) : x, condition);
    fill_(cx.stream, {.x = call.timesteps, .value = double(step.t)});
    const Tensor v = network(cx, call);
    call.sample.reset();
    if (step.next[3] != 0) {
      if (!z) z = cx.accum(shape, {"sampler noise"});
      draw(k + 1, z);
    }
    Tensor x0 = cx.accum(shape, {"predicted latents"});
    table.advance(cx.stream, k, x, v, before ? ConstView(before) : ConstView(), z ? ConstView(z) : ConstView(), x0);
    before = std::move(x0);
  }
  return x;
}

}  // namespace mfl::mvdiffusion
