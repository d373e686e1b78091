#include "models/mvdiffusion/unet_blocks.h"

namespace mfl::mvdiffusion {
namespace {

constexpr float kTransformerEps = 1e-6f;

// y = x as a new tensor of the residual stream, to which a product adds.
Tensor copied(Ctx& cx, const Tensor& x) {
  Tensor y = cx.compute(x.shape(), {"residual stream"});
  copy(cx.stream, x, y);
  return y;
}

}  // namespace

Resnet::Resnet(Scope s, const UnetSpec& spec, std::int64_t in, std::int64_t out)
    : params(s),
      norm1(s / "norm1", in, spec.groups, float(spec.eps), true),
      conv1(s / "conv1", in, out),
      time_emb_proj(s / "time_emb_proj", spec.time_width(), out, true),
      norm2(s / "norm2", out, spec.groups, float(spec.eps), true),
      conv2(s / "conv2", out, out) {
  if (in != out) conv_shortcut.emplace(s / "conv_shortcut", in, out, 1);
  params.close();
}

Tensor Resnet::forward(Ctx& cx, const Tensor& x, const Tensor& active, Saved& saved, bool skip_output) const {
  Range range("resnet");
  Tensor h = conv1.forward(cx, norm1.forward(cx, x, saved.norm1));
  {
    nn::Linear::Saved nothing;
    Saving off(cx, false);
    add_image_vector(cx.stream, {.x = h, .v = time_emb_proj.forward(cx, active, nothing, {"time projection"})});
  }
  Tensor n = norm2.forward(cx, h, saved.norm2);
  if (skip_output) return {};
  h.reset();
  Tensor y = conv2.forward(cx, n);
  n.reset();
  add_(cx.stream, {.y = y, .x = conv_shortcut ? conv_shortcut->forward(cx, x, {"shortcut"}) : x});
  return y;
}

Tensor Resnet::backward(Ctx& cx, Saved saved, const Tensor& active, Tensor dy, const Tensor& dactive) const {
  Range range("resnet backward");
  conv2.backward_weight(cx, norm2.again(cx, saved.norm2), dy);
  Tensor dh = cx.compute(saved.norm2.x.shape(), {"resnet gradient"});
  conv2.backward_input(cx, dy, dh);
  dh = norm2.backward(cx, std::move(saved.norm2), std::move(dh));
  {
    Tensor dprojection = cx.compute({dh.shape()[0], dh.shape()[-1]}, {"time projection gradient"});
    sum_image_vector(cx.stream, {.dx = dh, .dv = dprojection});
    time_emb_proj.backward_weight(cx, {active}, dprojection);
    linear_bwd_input(cx.stream, {.dy = dprojection, .weight = time_emb_proj.weight.compute, .dx = dactive,
                                 .dx_mode = GradMode::accumulate});
  }
  conv1.backward_weight(cx, norm1.again(cx, saved.norm1), dh);
  Tensor dx = cx.compute(saved.norm1.x.shape(), {"resnet gradient"});
  conv1.backward_input(cx, dh, dx);
  dh.reset();
  if (conv_shortcut) conv_shortcut->backward_weight(cx, saved.norm1.x, dy);
  dx = norm1.backward(cx, std::move(saved.norm1), std::move(dx));
  if (conv_shortcut) conv_shortcut->backward_input(cx, dy, dx, GradMode::accumulate);
  else add_(cx.stream, {.y = dx, .x = dy});
  cx.grads_ready(params.range());
  return dx;
}

ViewTransformer::Attention::Attention(Scope s, std::int64_t width, std::int64_t context)
    : to_q(s / "to_q", width, width),
      to_k(s / "to_k", context, width),
      to_v(s / "to_v", context, width),
      to_out(s / "to_out" / "0", width, width, true) {}

ViewTransformer::ViewTransformer(Scope s, const UnetSpec& spec, std::int64_t width, std::int64_t heads_)
    : params(s),
      norm(s / "norm", width, spec.groups, kTransformerEps, false),
      proj_in(s / "proj_in", width, width, true),
      norm1(s / "transformer_blocks" / "0" / "norm1", width, true),
      attn1(s / "transformer_blocks" / "0" / "attn1", width, width),
      norm2(s / "transformer_blocks" / "0" / "norm2", width, true),
      attn2(s / "transformer_blocks" / "0" / "attn2", width, spec.text_width),
      norm3(s / "transformer_blocks" / "0" / "norm3", width, true),
      ff_in(s / "transformer_blocks" / "0" / "ff" / "net" / "0" / "proj", width, 8 * width, true),
      ff_out(s / "transformer_blocks" / "0" / "ff" / "net" / "2", 4 * width, width, true),
      proj_out(s / "proj_out", width, width, true),
      heads(heads_),
      between{spec.views, spec.mode} {
  params.close();
}

Tensor ViewTransformer::forward(Ctx& cx, const Tensor& x, const Tensor& text, Saved& saved, bool skip_output) const {
  Range range("view transformer");
  const Shape s = x.shape();
  const std::int64_t N = s[0], T = s[1] * s[2], C = s[3], L = text.shape()[1], D = C / heads;
  nn::Linear::Saved nothing;   // what the products read is computed again in backward, or kept by its neighbour
  // y (+)= product, nothing kept.
  auto into = [&](const nn::Linear& linear, const Tensor& in, View out, bool add = false) {
    Saving off(cx, false);
    linear.forward_into(cx, in, nothing, out, add);
  };
  auto project = [&](const nn::Linear& linear, const Tensor& in, Shape shape, const char* what) {
    Saving off(cx, false);
    return linear.forward(cx, in, nothing, {what}).reshape(shape);
  };
  Tensor h = cx.compute({N, T, C}, {"residual stream"});
  into(proj_in, norm.forward(cx, x, saved.norm).reshape({N, T, C}), h);
  {
    Tensor n = norm1.forward(cx, h, saved.norm1, {"norm output"});
    const Shape split{N, T, heads, D};
    Tensor q = project(attn1.to_q, n, split, "queries"), k = project(attn1.to_k, n, split, "keys"),
           v = project(attn1.to_v, n, split, "values");
    n.reset();
    Tensor y = between.forward(cx, q, k, v, saved.own);
    h = copied(cx, h);
    into(attn1.to_out, y.reshape({N, T, C}), h, true);
  }
  {
    Tensor n = norm2.forward(cx, h, saved.norm2, {"norm output"});
    Tensor q = project(attn2.to_q, n, {N, T, heads, D}, "queries"), k = project(attn2.to_k, text, {N, L, heads, D}, "text keys"),
           v = project(attn2.to_v, text, {N, L, heads, D}, "text values");
    n.reset();
    Tensor y = cx.compute({N, T, heads, D}, {"text attention output"}), lse = cx.accum({N, heads, T}, {"attention log-sum-exp"});
    attention_fwd(cx.stream, {.q = q, .k = k, .v = v, .y = y, .lse = lse});
    saved.q = cx.keep(q), saved.k = cx.keep(k), saved.v = cx.keep(v), saved.y = cx.keep(y), saved.lse = cx.keep(lse);
    h = copied(cx, h);
    into(attn2.to_out, y.reshape({N, T, C}), h, true);
  }
  {
    Tensor n = norm3.forward(cx, h, saved.norm3, {"norm output"});
    Tensor hidden = project(ff_in, n, {N, T, 8 * C}, "feed-forward hidden");
    n.reset();
    saved.hidden = cx.keep(hidden);
    Tensor g = cx.compute({N, T, 4 * C}, {"feed-forward activation"});
    geglu_fwd(cx.stream, {.x = hidden, .y = g});
    hidden.reset();
    h = copied(cx, h);
    into(ff_out, g, h, true);
  }
  saved.last = cx.keep(h);
  if (skip_output) return {};
  Tensor y = copied(cx, x);
  into(proj_out, h, reshape(View(y), {N, T, C}), true);
  return y;
}

Tensor ViewTransformer::backward(Ctx& cx, Saved saved, const Tensor& text, Tensor dy) const {
  Range range("view transformer backward");
  const Shape s = dy.shape();
  const std::int64_t N = s[0], T = s[1] * s[2], C = s[3], L = text.shape()[1], D = C / heads;
  const Shape tokens{N, T, C};
  // The input of a product once more: layer norm of what was kept.
  auto normed = [&](const nn::LayerNorm& layer, const nn::LayerNorm::Saved& kept) {
    Saving off(cx, false);
    nn::LayerNorm::Saved nothing;
    return layer.forward(cx, kept.x, nothing, {"norm output"});
  };
  auto input_gradient = [&](const nn::Linear& linear, const Tensor& d, View dx, GradMode mode) {
    linear_bwd_input(cx.stream, {.dy = d, .weight = linear.weight.compute, .dx = dx, .dx_mode = mode});
  };

  const Tensor dout = dy.reshape(tokens);
  proj_out.backward_weight(cx, {saved.last}, dout);
  saved.last.reset();
  Tensor dh = proj_out.backward_input(cx, dout, {"residual stream gradient"});   // becomes the gradient of every stage of h
  {
    {
      Tensor g = cx.compute({N, T, 4 * C}, {"feed-forward activation"});
      geglu_fwd(cx.stream, {.x = saved.hidden, .y = g});
      ff_out.backward_weight(cx, {g}, dh);
    }
    Tensor dg = ff_out.backward_input(cx, dh, {"feed-forward activation gradient"});
    Tensor dhidden = cx.compute(saved.hidden.shape(), {"feed-forward hidden gradient"});
    geglu_bwd(cx.stream, {.x = saved.hidden, .dy = dg, .dx = dhidden});
    saved.hidden.reset(), dg.reset();
    ff_in.backward_weight(cx, {normed(norm3, saved.norm3)}, dhidden);
    Tensor dn = ff_in.backward_input(cx, dhidden, {"norm gradient"});
    dhidden.reset();
    norm3.backward_into(cx, std::move(saved.norm3), dn, dh, GradMode::accumulate);
  }
  {
    attn2.to_out.backward_weight(cx, {saved.y.reshape(tokens)}, dh);
    Tensor dmix = attn2.to_out.backward_input(cx, dh, {"attention output gradient"}).reshape({N, T, heads, D});
    Tensor dq = cx.compute(saved.q.shape(), {"query gradient"}), dk = cx.compute(saved.k.shape(), {"key gradient"}),
           dv = cx.compute(saved.v.shape(), {"value gradient"});
    {
      Tensor scratch;                              // f32 partial rows, on CUDA only
      if (!cx.device().is_cpu())
        scratch = cx.arena.empty({attention_bwd_scratch(N, heads, T)}, DType::f32, {"attention backward scratch"});
      attention_bwd(cx.stream, {.q = saved.q, .k = saved.k, .v = saved.v, .y = saved.y, .dy = dmix, .lse = saved.lse, .dq = dq,
                                .dk = dk, .dv = dv, .scratch = scratch});
    }
    dmix.reset(), saved.q.reset(), saved.k.reset(), saved.v.reset(), saved.y.reset(), saved.lse.reset();
    attn2.to_k.backward_weight(cx, {text}, dk.reshape({N, L, C}));
    attn2.to_v.backward_weight(cx, {text}, dv.reshape({N, L, C}));
    attn2.to_q.backward_weight(cx, {normed(norm2, saved.norm2)}, dq.reshape(tokens));
    Tensor dn = attn2.to_q.backward_input(cx, dq.reshape(tokens), {"norm gradient"});
    norm2.backward_into(cx, std::move(saved.norm2), dn, dh, GradMode::accumulate);
  }
  {
    attn1.to_out.backward_weight(cx, {saved.own.y.reshape(tokens)}, dh);
    const Tensor dmix = attn1.to_out.backward_input(cx, dh, {"attention output gradient"}).reshape({N, T, heads, D});
    const ViewAttention::Gradient d = between.backward(cx, std::move(saved.own), dmix);
    const Tensor dq = d.q.reshape(tokens), dk = d.k.reshape(tokens), dv = d.v.reshape(tokens);
    {
      const Tensor n = normed(norm1, saved.norm1);
      attn1.to_q.backward_weight(cx, {n}, dq);
      attn1.to_k.backward_weight(cx, {n}, dk);
      attn1.to_v.backward_weight(cx, {n}, dv);
    }
    Tensor dn = attn1.to_q.backward_input(cx, dq, {"norm gradient"});
    input_gradient(attn1.to_k, dk, dn, GradMode::accumulate);
    input_gradient(attn1.to_v, dv, dn, GradMode::accumulate);
    norm1.backward_into(cx, std::move(saved.norm1), dn, dh, GradMode::accumulate);
  }
  proj_in.backward_weight(cx, {norm.again(cx, saved.norm).reshape(tokens)}, dh);
  Tensor dx = proj_in.backward_input(cx, dh, {"norm gradient"}).reshape(s);
  dh.reset();
  dx = norm.backward(cx, std::move(saved.norm), std::move(dx));
  add_(cx.stream, {.y = dx, .x = dy});
  cx.grads_ready(params.range());
  return dx;
}

}  // namespace mfl::mvdiffusion
