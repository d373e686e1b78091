// Layers of networks that are not trained: forward only, nothing is kept. Weights are read from the store's compute copy
// (matrix products) or its masters (norms), except the convolutions', which are packed channel-last once.
#pragma once

#include <vector>

#include "kernels/conv/conv2d.h"
#include "kernels/elementwise/cast.h"
#include "kernels/gemm/linear.h"
#include "kernels/norm/group_norm.h"
#include "kernels/norm/layer_norm.h"
#include "runtime/module.h"

namespace mfl::nn {

struct FrozenLinear {                              // y = x W^T + b
  Param& weight;                                   // [N, K]
  Param* bias;                                     // [N]; null: no bias
  FrozenLinear(Scope s, std::int64_t in, std::int64_t out, bool with_bias = true)
      : weight(s.param("weight", {out, in})), bias(with_bias ? &s.param("bias", {out}) : nullptr) {}

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

struct FrozenConv {
  Param& weight;                                   // [O, I, KH, KW]
  Param* bias;                                     // [O]; null: no bias
  int stride, pad;
  Tensor packed_weight, packed_bias;               // [O, KH, KW, I], [O] compute type
  FrozenConv(Scope s, std::int64_t in, std::int64_t out, std::int64_t kernel, int stride_, int pad_, bool with_bias = true)
      : weight(s.param("weight", {out, in, kernel, kernel})), bias(with_bias ? &s.param("bias", {out}) : nullptr),
        stride(stride_), pad(pad_) {}

  // After the parameters are set, and again when they change.
  void prepare(const Stream& s, Arena& arena, DType compute) {
    const Shape& w = weight.shape;
    if (!packed_weight || packed_weight.dtype() != compute) {
      packed_weight = arena.empty({w[0], w[2], w[3], w[1]}, compute, {"packed convolution weights"});
      if (bias) packed_bias = arena.empty({w[0]}, compute, {"packed convolution weights"});
    }
    conv2d_pack(s, {.weight = weight.value, .packed = packed_weight});
    if (bias) cast(s, {.x = bias->value, .y = packed_bias});
  }
  Tensor forward(Ctx& cx, const Tensor& x, Purpose purpose) const {   // x [N, H, W, I] compute type
    MFL_CHECK(packed_weight, weight.name, " was used before prepare()");
    const Shape &in = x.shape(), &w = weight.shape;
    Tensor y = cx.compute({in[0], conv2d_out_size(in[1], w[2], stride, pad), conv2d_out_size(in[2], w[3], stride, pad), w[0]},
                          purpose);
    conv2d_fwd(cx.stream, {.x = x, .weight = packed_weight, .bias = bias ? ConstView(packed_bias) : ConstView(),
                           .stride = stride, .pad = pad, .y = y});
    return y;
  }
};

}  // namespace mfl::nn
