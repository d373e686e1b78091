// Layer norm with weight, and with bias where asked for. Reads the accum-type residual stream, writes the compute type for the matrix
// product that follows (or the accum type, on request).
#pragma once

#include "kernels/norm/layer_norm.h"
#include "runtime/module.h"

namespace mfl::nn {

struct LayerNorm {
  Param& weight;                                   // [C]
  Param* bias;                                     // [C]; null: none
  float eps = 1e-5f;
  LayerNorm(Scope s, std::int64_t c, bool with_bias = false)
      : weight(s.param("weight", {c})), bias(with_bias ? &s.param("bias", {c}) : nullptr) {}

  struct Saved {
    Tensor x, mean, rstd;                          // [R, C], [R], [R] accum type
  };

  Tensor forward(Ctx& cx, const Tensor& x, Saved& saved, Purpose purpose = {"layer norm"}) const {
    Tensor y = cx.compute(x.shape(), purpose);
    forward_into(cx, x, saved, y);
    return y;
  }
  void forward_into(Ctx& cx, const Tensor& x, Saved& saved, View y) const {
    const Shape rows{x.shape().rows()};
    Tensor mean, rstd;
    if (cx.saving) mean = cx.accum(rows, {"layer norm statistics"}), rstd = cx.accum(rows, {"layer norm statistics"});
    layer_norm_fwd(cx.stream, {.x = x, .weight = weight.value, .bias = bias ? ConstView(bias->value) : ConstView{}, .eps = eps,
                               .y = y, .mean = mean, .rstd = rstd});
    saved = {cx.keep(x), cx.keep(mean), cx.keep(rstd)};
  }
  // Adds to dx, the residual stream's gradient; or overwrites it.
  void backward_into(Ctx& cx, Saved s, ConstView dy, View dx, GradMode dx_mode) const {
    Tensor scratch;
    const GradMode dw_mode = weight.grad_mode(cx);
    if (dw_mode != GradMode::ignore && !cx.device().is_cpu())
      scratch = cx.arena.empty({layer_norm_bwd_scratch(s.x.shape().rows(), s.x.shape()[-1])}, DType::f32,
                               {"layer norm partial sums"});
    layer_norm_bwd(cx.stream, {.x = s.x, .weight = weight.value, .mean = s.mean, .rstd = s.rstd, .dy = dy, .dx = dx,
                               .dx_mode = dx_mode, .dweight = weight.grad, .dbias = bias ? View(bias->grad) : View{},
                               .dw_mode = dw_mode, .scratch = scratch});
  }
};

}  // namespace mfl::nn
