// The UNet's building blocks: residual block, multi-view transformer, and the means to recompute either in backward. All
// activations are channel-last and of compute type; N = objects x views samples.
#pragma once

#include <optional>

#include "kernels/elementwise/cast.h"
#include "kernels/elementwise/geglu.h"
#include "kernels/elementwise/image_vector.h"
#include "models/mvdiffusion/view_attention.h"
#include "models/nn/conv2d.h"
#include "models/nn/group_norm.h"
#include "models/nn/layer_norm.h"
#include "models/nn/linear.h"
#include "runtime/profile.h"

namespace mfl::mvdiffusion {

// h = conv1(silu(norm1(x))) + time_emb_proj(silu(emb));  y = conv2(silu(norm2(h))) + shortcut(x).    ResnetBlock2D of diffusers
//   `active` is silu(emb) [N, E], compute type, the same for every block; its gradient adds up in `dactive`, accum type.
struct Resnet {
  ParamSpan params;
  nn::GroupNorm norm1;
  nn::Conv2d conv1;
  nn::Linear time_emb_proj;
  nn::GroupNorm norm2;
  nn::Conv2d conv2;
  std::optional<nn::Conv2d> conv_shortcut;         // where the number of channels changes
  Resnet(Scope, const UnetSpec&, std::int64_t in, std::int64_t out);

  struct Saved {
    nn::GroupNorm::Saved norm1, norm2;             // x [N, H, W, I]; h [N, H, W, O]
  };
  // [N, H, W, O]. `skip_output`: stop before the last convolution (refill).
  Tensor forward(Ctx&, const Tensor& x, const Tensor& active, Saved&, bool skip_output = false) const;
  Tensor backward(Ctx&, Saved, const Tensor& active, Tensor dy, const Tensor& dactive) const;
};

// y = x + proj_out(block(proj_in(norm(x)))) over the pixels as tokens, where block is
//   h += attn1(norm1(h)) between the views;  h += attn2(norm2(h), text);  h += ff(norm3(h)), a GEGLU.
struct ViewTransformer {
  ParamSpan params;
  nn::GroupNorm norm;
  nn::Linear proj_in;
  struct Attention {
    nn::Linear to_q, to_k, to_v, to_out;           // the last with bias
    Attention(Scope, std::int64_t width, std::int64_t context);
  };
  nn::LayerNorm norm1;
  Attention attn1;
  nn::LayerNorm norm2;
  Attention attn2;
  nn::LayerNorm norm3;
  nn::Linear ff_in, ff_out;                        // ff.net.0.proj, ff.net.2
  nn::Linear proj_out;
  std::int64_t heads;
  ViewAttention between;
  ViewTransformer(Scope, const UnetSpec&, std::int64_t width, std::int64_t heads);

  struct Saved {
    nn::GroupNorm::Saved norm;                     // x [N, H, W, C]
    nn::LayerNorm::Saved norm1, norm2, norm3;      // the residual stream [N, T, C] before each part
    ViewAttention::Saved own;
    Tensor q, k, v, y, lse;                        // of attn2: [N, T, A, D], [N, L, A, D] x 2, [N, T, A, D]; [N, A, T]
    Tensor hidden;                                 // [N, T, 8 C] value and gate
    Tensor last;                                   // [N, T, C] the residual stream after the block
  };
  // text [N, L, E] compute type; frozen.
  Tensor forward(Ctx&, const Tensor& x, const Tensor& text, Saved&, bool skip_output = false) const;
  Tensor backward(Ctx&, Saved, const Tensor& text, Tensor dy) const;
};

// A block with its second input bound: a member of Recompute.
struct ResnetCall {
  const Resnet& block;
  const Tensor &active, &dactive;
  using Saved = Resnet::Saved;
  Tensor forward(Ctx& cx, const Tensor& x, Saved& s) const { return block.forward(cx, x, active, s); }
  void refill(Ctx& cx, const Tensor& x, Saved& s) const { block.forward(cx, x, active, s, /*skip_output=*/true); }
  Tensor backward(Ctx& cx, Saved s, Tensor dy) const {
    return block.backward(cx, std::move(s), active, std::move(dy), dactive);
  }
};
struct TransformerCall {
  const ViewTransformer& block;
  const Tensor& text;
  using Saved = ViewTransformer::Saved;
  Tensor forward(Ctx& cx, const Tensor& x, Saved& s) const { return block.forward(cx, x, text, s); }
  void refill(Ctx& cx, const Tensor& x, Saved& s) const { block.forward(cx, x, text, s, /*skip_output=*/true); }
  Tensor backward(Ctx& cx, Saved s, Tensor dy) const { return block.backward(cx, std::move(s), text, std::move(dy)); }
};
static_assert(Refillable<ResnetCall> && Refillable<TransformerCall>);

// What a block leaves for backward: everything, or its input.
template <class Call>
struct Kept {
  typename Call::Saved all;
  typename Recompute<Call>::Saved input;
};
template <class Call>
Tensor forward(Ctx& cx, const Call& call, bool recompute, const Tensor& x, Kept<Call>& kept) {
  return recompute ? Recompute<Call>{call}.forward(cx, x, kept.input) : call.forward(cx, x, kept.all);
}
template <class Call>
Tensor backward(Ctx& cx, const Call& call, bool recompute, Kept<Call> kept, Tensor dy) {
  return recompute ? Recompute<Call>{call}.backward(cx, std::move(kept.input), std::move(dy))
                   : call.backward(cx, std::move(kept.all), std::move(dy));
}

}  // namespace mfl::mvdiffusion
