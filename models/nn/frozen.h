// Layers of networks that are not trained: forward only, nothing is kept, results in place where that saves memory. Their
// convolutions are nn::Conv2d.
#pragma once

#include "kernels/gemm/linear.h"
#include "kernels/norm/group_norm.h"
#include "kernels/norm/layer_norm.h"
#include "runtime/module.h"

namespace mfl::nn {

struct FrozenLinear {                              // y = x W^T + b
  Param& weight;                                   // [N, K]
  Param* bias;                                     // [N]; null: no bias
  FrozenLinear(Scope s, std::int64_t in, std::int64_t out, bool with_bias = true)
      : weight(s.matrix("weight", {out, in})), bias(with_bias ? &s.param("bias", {out}) : nullptr) {}

  Tensor forward(Ctx& cx, const Tensor& x, Purpose purpose) const {
    Shape shape = x.shape();
    shape[-1] = weight.shape[0];
    Tensor y = cx.compute(shape, purpose);
    forward_into(cx, x, y);
    return y;
  }
  // Into compute or accum type; `add`: y += x W^T + b.
  void forward_into(Ctx& cx, ConstView x, View y, bool add = false) const {
    linear_fwd(cx.stream, {.x = x, .weight = weight.compute, .bias = bias ? ConstView(bias->value) : ConstView(), .y = y,
                           .add = add});
  }
};

struct FrozenLayerNorm {
  Param &weight, &bias;                            // [C]
  float eps;
  FrozenLayerNorm(Scope s, std::int64_t c, float e) : weight(s.param("weight", {c})), bias(s.param("bias", {c})), eps(e) {}

  void forward_into(Ctx& cx, ConstView x, View y) const {
    layer_norm_fwd(cx.stream, {.x = x, .weight = weight.value, .bias = bias.value, .eps = eps, .y = y});
  }
  Tensor forward(Ctx& cx, const Tensor& x, Purpose purpose) const {
    Tensor y = cx.compute(x.shape(), purpose);
    forward_into(cx, x, y);
    return y;
  }
};

struct FrozenGroupNorm {                           // act(norm(x)), act SiLU or nothing
  Param &weight, &bias;                            // [C]
  int groups;
  float eps;
  FrozenGroupNorm(Scope s, std::int64_t c, std::int64_t g, float e)
      : weight(s.param("weight", {c})), bias(s.param("bias", {c})), groups(static_cast<int>(g)), eps(e) {}

  void forward_into(Ctx& cx, ConstView x, bool silu, View y) const {   // y may be x
    Tensor scratch;
    if (!cx.device().is_cpu())
      scratch = cx.arena.empty({group_norm_fwd_scratch(x.shape, groups)}, DType::f32, {"group norm partial sums"});
    group_norm_fwd(cx.stream, {.x = x, .groups = groups, .weight = weight.value, .bias = bias.value, .eps = eps, .silu = silu,
                               .y = y, .scratch = scratch});
  }
  Tensor forward(Ctx& cx, const Tensor& x, bool silu, Purpose purpose) const {
    Tensor y = cx.compute(x.shape(), purpose);
    forward_into(cx, x, silu, y);
    return y;
  }
};

}  // namespace mfl::nn
