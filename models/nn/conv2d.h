// Convolution of channel-last feature maps, with bias. The weight's memory is [O, KH, KW, I], as the kernels read it.
#pragma once

#include "kernels/conv/conv2d.h"
#include "runtime/module.h"

namespace mfl::nn {

struct Conv2d {
  Param &weight, &bias;                            // [O, I, KH, KW] in checkpoints, [O]
  int stride, pad;
  Conv2d(Scope s, std::int64_t in, std::int64_t out, std::int64_t kernel = 3, int stride_ = 1)
      : weight(s.kernel("weight", {out, in, kernel, kernel})), bias(s.param("bias", {out})), stride(stride_),
        pad(int(kernel / 2)) {}

  // x [N, H, W, I] to [N, P, Q, O], compute type. Keeps nothing: backward_weight is given x again.
  Tensor forward(Ctx& cx, const Tensor& x, Purpose purpose = {"convolution"}) const {
    const Shape& in = x.shape();
    const std::int64_t kernel = weight.shape[2];
    Tensor y = cx.compute({in[0], conv2d_out_size(in[1], kernel, stride, pad), conv2d_out_size(in[2], kernel, stride, pad),
                           weight.shape[0]}, purpose);
    conv2d_fwd(cx.stream, {.x = x, .weight = weight.compute, .bias = bias.compute, .stride = stride, .pad = pad, .y = y});
    return y;
  }
  void backward_weight(Ctx& cx, const Tensor& x, const Tensor& dy) const {
    const GradMode mode = weight.grad_mode(cx);
    if (mode == GradMode::ignore) return;
    Tensor scratch;                                // f32 partial sums, on CUDA only
    if (!cx.device().is_cpu())
      scratch = cx.arena.empty({conv2d_bwd_weight_scratch(dy.shape(), weight.memory_shape())}, DType::f32,
                               {"convolution weight gradient, partial sums"});
    conv2d_bwd_weight(cx.stream, {.x = x, .dy = dy, .stride = stride, .pad = pad, .dweight = weight.grad, .dbias = bias.grad,
                                  .dw_mode = mode, .scratch = scratch});
  }
  void backward_input(Ctx& cx, const Tensor& dy, View dx, GradMode mode = GradMode::overwrite) const {
    conv2d_bwd_input(cx.stream, {.dy = dy, .weight = weight.compute, .stride = stride, .pad = pad, .dx = dx, .dx_mode = mode});
  }
};

}  // namespace mfl::nn
