// Group norm of channel-last feature maps, with SiLU where asked for.
#pragma once

#include "kernels/norm/group_norm.h"
#include "runtime/module.h"

namespace mfl::nn {

struct GroupNorm {
  Param &weight, &bias;                            // [C]
  int groups;
  float eps;
  bool silu;
  GroupNorm(Scope s, std::int64_t c, int groups_, float eps_, bool silu_)
      : weight(s.param("weight", {c})), bias(s.param("bias", {c})), groups(groups_), eps(eps_), silu(silu_) {}

  struct Saved {
    Tensor x, mean, rstd;                          // [N, .., C] compute type; [N, G] accum type
  };

  // y of x's shape, compute type.
  Tensor forward(Ctx& cx, const Tensor& x, Saved& saved, Purpose purpose = {"group norm"}) const {
    Tensor y = cx.compute(x.shape(), purpose), mean, rstd, scratch;
    const Shape statistics{x.shape()[0], groups};
    if (cx.saving) mean = cx.accum(statistics, {"group norm statistics"}), rstd = cx.accum(statistics, {"group norm statistics"});
    if (!cx.device().is_cpu())
      scratch = cx.arena.empty({group_norm_fwd_scratch(x.shape(), groups)}, DType::f32, {"group norm partial sums"});
    group_norm_fwd(cx.stream, {.x = x, .groups = groups, .weight = weight.value, .bias = bias.value, .eps = eps, .silu = silu,
                               .y = y, .mean = mean, .rstd = rstd, .scratch = scratch});
    saved = {cx.keep(x), cx.keep(mean), cx.keep(rstd)};
    return y;
  }
  // y once more, for backward: what is cheap to compute is not kept.
  Tensor again(Ctx& cx, const Saved& s, Purpose purpose = {"group norm"}) const {
    Saving off(cx, false);
    Saved nothing;
    return forward(cx, s.x, nothing, purpose);
  }
  // dy becomes dx, in its own memory.
  Tensor backward(Ctx& cx, Saved s, Tensor dy) const {
    Tensor scratch;
    if (!cx.device().is_cpu())
      scratch = cx.arena.empty({group_norm_bwd_scratch(s.x.shape(), groups)}, DType::f32, {"group norm partial sums"});
    group_norm_bwd(cx.stream, {.x = s.x, .groups = groups, .weight = weight.value, .bias = bias.value, .mean = s.mean,
                               .rstd = s.rstd, .silu = silu, .dy = dy, .dx = dy, .dweight = weight.grad, .dbias = bias.grad,
                               .dw_mode = weight.grad_mode(cx), .scratch = scratch});
    return dy;
  }
};

}  // namespace mfl::nn
