// Pre-norm transformer block, as in GS-LRM:  x <- x + fc(attention(norm1(x)));  x <- x + mlp(norm2(x)).
//
// The residual stream x is of accum type (f32, as in the published model); everything between the norms and the sums is of
// compute type. No bias, no dropout, exact GELU, full bidirectional attention over all tokens, scale d_head^-1/2.
#pragma once

#include "kernels/attention/attention.h"
#include "kernels/elementwise/cast.h"
#include "kernels/elementwise/gelu.h"
#include "models/nn/layer_norm.h"
#include "models/nn/linear.h"
#include "runtime/profile.h"

namespace mfl::nn {

struct SelfAttention {
  Linear to_qkv, fc;
  std::int64_t heads, head_size;
  SelfAttention(Scope s, std::int64_t d, std::int64_t d_head)
      : to_qkv(s / "to_qkv", d, 3 * d), fc(s / "fc", d, d), heads(d / d_head), head_size(d_head) {}

  struct Saved {
    Linear::Saved to_qkv, fc;                      // n [B, T, d]; y [B, T, d]
    Tensor qkv, y, lse;                            // [B, T, 3, A, D], [B, T, A, D] compute; [B, A, T] f32
  };

  // residual + attention(n), accum type, a new tensor. `skip_output`: stop before the last product (refill).
  Tensor forward(Ctx& cx, const Tensor& n, const Tensor& residual, Saved& saved, bool skip_output = false) const {
    Range range("attention");
    const std::int64_t B = n.shape()[0], T = n.shape()[1];
    Tensor qkv = to_qkv.forward(cx, n, saved.to_qkv, {"qkv"}).reshape({B, T, 3, heads, head_size});
    Tensor y = cx.compute({B, T, heads, head_size}, {"attention output"});
    Tensor lse = cx.accum({B, heads, T}, {"attention log-sum-exp"});
    attention_fwd(cx.stream, {.q = in(qkv, 0), .k = in(qkv, 1), .v = in(qkv, 2), .y = y, .lse = lse});
    saved.qkv = cx.keep(qkv), saved.y = cx.keep(y), saved.lse = cx.keep(lse);
    Tensor flat = y.reshape({B, T, heads * head_size});
    if (skip_output) {
      saved.fc.x = cx.keep(flat);
      return {};
    }
    Tensor sum = cx.accum(residual.shape(), {"residual stream"});
    copy(cx.stream, residual, sum);
    fc.forward_into(cx, flat, saved.fc, sum, /*add=*/true);
    return sum;
  }

  // From dout (compute type) to dn (compute type).
  Tensor backward(Ctx& cx, Saved saved, const Tensor& dout) const {
    Range range("attention backward");
    const Shape shape = saved.qkv.shape();         // [B, T, 3, A, D]
    const std::int64_t B = shape[0], T = shape[1];
    Tensor dy = fc.backward(cx, std::move(saved.fc), dout, {"attention output gradient"}).reshape({B, T, heads, head_size});
    Tensor dqkv = cx.compute(shape, {"qkv gradient"});
    {
      Tensor scratch;                              // f32 partial rows, on CUDA only
      if (!cx.device().is_cpu())
        scratch = cx.arena.empty({attention_bwd_scratch(B, heads, T)}, DType::f32, {"attention backward scratch"});
      attention_bwd(cx.stream, {.q = in(saved.qkv, 0), .k = in(saved.qkv, 1), .v = in(saved.qkv, 2), .y = saved.y,
                                .dy = dy, .lse = saved.lse, .dq = out(dqkv, 0), .dk = out(dqkv, 1), .dv = out(dqkv, 2),
                                .scratch = scratch});
    }
    dy.reset();
    saved.qkv.reset(), saved.y.reset(), saved.lse.reset();
    return to_qkv.backward(cx, std::move(saved.to_qkv), dqkv.reshape({B, T, 3 * heads * head_size}), {"norm gradient"});
  }

 private:
  static ConstView in(const Tensor& packed, int part) { return packed_part(ConstView(packed), part); }
  static View out(const Tensor& packed, int part) { return packed_part(View(packed), part); }
};

struct Mlp {                                       // fc2(gelu(fc1(n)))
  Linear fc1, fc2;
  // The checkpoint's names: mlp.0 and mlp.2 of a sequential.
  Mlp(Scope s, std::int64_t d) : fc1(s / "0", d, 4 * d), fc2(s / "2", 4 * d, d) {}

  struct Saved {
    Linear::Saved fc1;                             // n [B, T, d]
    Tensor h;                                      // [B, T, 4d] before the activation
  };

  Tensor forward(Ctx& cx, const Tensor& n, const Tensor& residual, Saved& saved, bool skip_output = false) const {
    Range range("mlp");
    Tensor h = fc1.forward(cx, n, saved.fc1, {"mlp hidden"});
    saved.h = cx.keep(h);
    if (skip_output) return {};
    Tensor g = cx.compute(h.shape(), {"mlp activation"});
    gelu_fwd(cx.stream, {.x = h, .y = g});
    Tensor out = cx.accum(residual.shape(), {"residual stream"});
    Linear::Saved nothing;                         // backward computes the activation again: one pass over h is cheaper
    Saving off(cx, false);                         // than 4d kept values a token
    copy(cx.stream, residual, out);
    fc2.forward_into(cx, g, nothing, out, /*add=*/true);
    return out;
  }
  Tensor backward(Ctx& cx, Saved saved, const Tensor& dout) const {
    Range range("mlp backward");
    {
      Tensor g = cx.compute(saved.h.shape(), {"mlp activation"});
      gelu_fwd(cx.stream, {.x = saved.h, .y = g});
      fc2.backward_weight(cx, {g}, dout);
    }
    Tensor dh = fc2.backward_input(cx, dout, {"mlp hidden gradient"});
    gelu_bwd(cx.stream, {.x = saved.h, .dy = dh, .dx = dh});
    saved.h.reset();
    return fc1.backward(cx, std::move(saved.fc1), dh, {"norm gradient"});
  }
};

struct TransformerBlock {
  ParamSpan params;
  LayerNorm norm1, norm2;
  SelfAttention attn;
  Mlp mlp;
  // Registration order is the published state dict's: norm1, norm2, attn, mlp.
  TransformerBlock(Scope s, std::int64_t d, std::int64_t d_head)
      : params(s), norm1(s / "norm1", d), norm2(s / "norm2", d), attn(s / "attn", d, d_head), mlp(s / "mlp" / "mlp", d) {
    params.close();
  }

  struct Saved {
    LayerNorm::Saved norm1, norm2;
    SelfAttention::Saved attn;
    Mlp::Saved mlp;
  };

  Tensor forward(Ctx& cx, const Tensor& x, Saved& saved) const {          // x, y: [B, T, d] accum
    Tensor mid = attn.forward(cx, norm1.forward(cx, x, saved.norm1, {"norm output"}), x, saved.attn);
    return mlp.forward(cx, norm2.forward(cx, mid, saved.norm2, {"norm output"}), mid, saved.mlp);
  }
  // Rebuilds Saved from the block's input; the output of the MLP's last product is not needed.
  void refill(Ctx& cx, const Tensor& x, Saved& saved) const {
    Tensor mid = attn.forward(cx, norm1.forward(cx, x, saved.norm1, {"norm output"}), x, saved.attn);
    mlp.forward(cx, norm2.forward(cx, mid, saved.norm2, {"norm output"}), mid, saved.mlp, /*skip_output=*/true);
  }
  // dy [B, T, d] accum becomes dx in place: the residual path is the identity.
  Tensor backward(Ctx& cx, Saved saved, Tensor dy) const {
    Tensor dbranch = as_compute(cx, dy);
    Tensor dn = mlp.backward(cx, std::move(saved.mlp), dbranch);
    norm2.backward_into(cx, std::move(saved.norm2), dn, dy, GradMode::accumulate);
    dn.reset(), dbranch.reset();
    dbranch = as_compute(cx, dy);
    dn = attn.backward(cx, std::move(saved.attn), dbranch);
    norm1.backward_into(cx, std::move(saved.norm1), dn, dy, GradMode::accumulate);
    cx.grads_ready(params.range());
    return dy;
  }

 private:
  // The gradient that enters a branch, in compute type; the same tensor when the types are equal.
  static Tensor as_compute(Ctx& cx, const Tensor& dy) {
    if (cx.precision.compute == dy.dtype()) return dy;
    Tensor c = cx.compute(dy.shape(), {"branch gradient"});
    cast(cx.stream, {.x = dy, .y = c});
    return c;
  }
};
static_assert(Refillable<TransformerBlock>);

}  // namespace mfl::nn
