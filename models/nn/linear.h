// Linear layer: y = x W^T, and + b where it has a bias.
#pragma once

#include "kernels/gemm/linear.h"
#include "runtime/module.h"

namespace mfl::nn {

struct Linear {
  Param& weight;                                   // [N, K]
  Param* bias;                                     // [N]; null: none
  Linear(Scope s, std::int64_t in, std::int64_t out, bool with_bias = false)
      : weight(s.matrix("weight", {out, in})), bias(with_bias ? &s.param("bias", {out}) : nullptr) {}

  struct Saved {
    Tensor x;                                      // [R, K] compute type
  };

  // y [R, N]; compute type.
  Tensor forward(Ctx& cx, const Tensor& x, Saved& saved, Purpose purpose = {"linear"}) const {
    Tensor y = cx.compute(with_last(x.shape(), weight.shape[0]), purpose);
    forward_into(cx, x, saved, y);
    return y;
  }
  // Into a given tensor of compute or accum type; `add`: y += x W^T + b, the residual stream.
  void forward_into(Ctx& cx, const Tensor& x, Saved& saved, View y, bool add = false) const {
    linear_fwd(cx.stream, {.x = x, .weight = weight.compute, .bias = bias ? ConstView(bias->value) : ConstView{}, .y = y,
                           .add = add});
    saved.x = cx.keep(x);
  }
  // dx [R, K] compute type; dy compute type.
  Tensor backward(Ctx& cx, Saved saved, const Tensor& dy, Purpose purpose = {"linear gradient"}) const {
    backward_weight(cx, std::move(saved), dy);
    return backward_input(cx, dy, purpose);
  }
  void backward_weight(Ctx& cx, Saved saved, ConstView dy) const {
    if (weight.trainable)
      linear_bwd_weight(cx.stream, {.x = saved.x, .dy = dy, .dweight = weight.grad,
                                    .dbias = bias ? View(bias->grad) : View{}, .dw_mode = weight.grad_mode(cx)});
  }
  Tensor backward_input(Ctx& cx, const Tensor& dy, Purpose purpose = {"linear gradient"}) const {
    Tensor dx = cx.compute(with_last(dy.shape(), weight.shape[1]), purpose);
    linear_bwd_input(cx.stream, {.dy = dy, .weight = weight.compute, .dx = dx});
    return dx;
  }

 private:
  static Shape with_last(Shape s, std::int64_t n) {
    s[-1] = n;
    return s;
  }
};

}  // namespace mfl::nn
