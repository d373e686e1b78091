#include "models/mvdiffusion/vae.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "kernels/attention/softmax.h"
#include "kernels/elementwise/cast.h"
#include "kernels/elementwise/fit.h"
#include "kernels/elementwise/posterior.h"
#include "kernels/loss/clamp.h"
#include "kernels/loss/normalize_image.h"
#include "kernels/resample/upsample.h"
#include "runtime/profile.h"

namespace mfl::mvdiffusion {
namespace {

constexpr float kEps = 1e-6f;
constexpr Purpose kFeatures{"vae features"};

std::string at(std::size_t i) { return std::to_string(i); }

}  // namespace

// ---- parts ----

VaeResnet::VaeResnet(Scope s, std::int64_t in, std::int64_t out, std::int64_t groups)
    : norm1(s / "norm1", in, groups, kEps), conv1(s / "conv1", in, out, 3), norm2(s / "norm2", out, groups, kEps),
      conv2(s / "conv2", out, out, 3) {
  if (in != out) shortcut.emplace(s / "conv_shortcut", in, out, 1);
}
Tensor VaeResnet::forward(Ctx& cx, const Tensor& x) const {
  Tensor h;
  {
    const Tensor n = norm1.forward(cx, x, /*silu=*/true, kFeatures);
    h = conv1.forward(cx, n, kFeatures);
  }
  norm2.forward_into(cx, h, /*silu=*/true, h);
  h = conv2.forward(cx, h, kFeatures);
  add_(cx.stream, {.y = h, .x = shortcut ? shortcut->forward(cx, x, kFeatures) : x});
  return h;
}

VaeAttention::VaeAttention(Scope s, std::int64_t c, std::int64_t groups)
    : norm(s / "group_norm", c, groups, kEps), q(s / "to_q", c, c), k(s / "to_k", c, c), v(s / "to_v", c, c),
      out(s / "to_out" / "0", c, c) {}
// softmax(C^-1/2 q k^T) v by two products an image: the head is too wide for the fused kernel, and this runs once an image.
Tensor VaeAttention::forward(Ctx& cx, const Tensor& x) const {
  Range range("vae attention");
  const std::int64_t N = x.shape()[0], T = x.shape()[1] * x.shape()[2], C = x.shape()[3];
  Tensor y = cx.compute({N, T, C}, kFeatures);
  {
    const Tensor n = norm.forward(cx, x, /*silu=*/false, kFeatures).reshape({N, T, C});
    const Tensor qs = q.forward(cx, n, kFeatures), ks = k.forward(cx, n, kFeatures), vs = v.forward(cx, n, kFeatures);
    auto image = [&](const Tensor& t, std::int64_t i) { return t.rows(i, 1).reshape({T, C}); };
    for (std::int64_t i = 0; i < N; ++i) {
      Tensor p = cx.compute({T, T}, {"vae attention weights"});
      {
        Tensor logits = cx.accum({T, T}, {"vae attention logits"});
        linear_fwd(cx.stream, {.x = image(qs, i), .weight = image(ks, i), .y = logits});
        softmax_fwd(cx.stream, {.x = logits, .scale = 1 / std::sqrt(static_cast<double>(C)), .y = p});
      }
      linear_bwd_input(cx.stream, {.dy = p, .weight = image(vs, i), .dx = image(y, i)});   // p v
    }
  }
  Tensor sum = out.forward(cx, y, kFeatures).reshape(x.shape());
  add_(cx.stream, {.y = sum, .x = x});
  return sum;
}

VaeMiddle::VaeMiddle(Scope s, std::int64_t c, std::int64_t groups)
    : attention(s / "attentions" / "0", c, groups), first(s / "resnets" / "0", c, c, groups),
      last(s / "resnets" / "1", c, c, groups) {}
Tensor VaeMiddle::forward(Ctx& cx, const Tensor& x) const {
  return last.forward(cx, attention.forward(cx, first.forward(cx, x)));
}

// ---- encoder ----

namespace {

std::deque<VaeLevel> encoder_levels(Scope s, const VaeConfig& c) {
  std::deque<VaeLevel> levels;
  std::int64_t in = c.channels[0];
  for (std::size_t i = 0; i < c.channels.size(); ++i) {
    const Scope level = s / at(i);
    VaeLevel& l = levels.emplace_back();
    for (std::int64_t j = 0; j < c.layers; ++j, in = c.channels[i])
      l.resnets.emplace_back(level / "resnets" / at(static_cast<std::size_t>(j)), in, c.channels[i], c.groups);
    if (i + 1 < c.channels.size()) l.resample.emplace(level / "downsamplers" / "0" / "conv", in, in, 3, 2).pad = 0;   // the image is padded before
  }
  return levels;
}

std::deque<VaeLevel> decoder_levels(Scope s, const VaeConfig& c) {
  std::deque<VaeLevel> levels;
  std::int64_t in = c.channels.back();
  for (std::size_t i = 0; i < c.channels.size(); ++i) {
    const Scope level = s / at(i);
    const std::int64_t out = c.channels[c.channels.size() - 1 - i];
    VaeLevel& l = levels.emplace_back();
    for (std::int64_t j = 0; j <= c.layers; ++j, in = out)
      l.resnets.emplace_back(level / "resnets" / at(static_cast<std::size_t>(j)), in, out, c.groups);
    if (i + 1 < c.channels.size()) l.resample.emplace(level / "upsamplers" / "0" / "conv", out, out, 3);
  }
  return levels;
}

}  // namespace

VaeEncoder::VaeEncoder(Scope s, const VaeConfig& c)
    : conv_in(s / "conv_in", 3, c.channels[0], 3), levels(encoder_levels(s / "down_blocks", c)),
      middle(s / "mid_block", c.channels.back(), c.groups), norm(s / "conv_norm_out", c.channels.back(), c.groups, kEps),
      conv_out(s / "conv_out", c.channels.back(), 2 * c.latent, 3) {}
Tensor VaeEncoder::forward(Ctx& cx, const Tensor& image) const {
  Tensor x = conv_in.forward(cx, image, kFeatures);
  for (const VaeLevel& level : levels) {
    for (const VaeResnet& r : level.resnets) x = r.forward(cx, x);
    if (level.resample) {
      const Shape& in = x.shape();
      Tensor padded = cx.compute({in[0], in[1] + 1, in[2] + 1, in[3]}, kFeatures);   // right and bottom
      fit(cx.stream, {.x = x, .y = padded});
      x.reset();
      x = level.resample->forward(cx, padded, kFeatures);
    }
  }
  x = middle.forward(cx, x);
  norm.forward_into(cx, x, /*silu=*/true, x);
  return conv_out.forward(cx, x, kFeatures);
}

// ---- decoder ----

VaeDecoder::VaeDecoder(Scope s, const VaeConfig& c)
    : conv_in(s / "conv_in", c.latent, c.channels.back(), 3), levels(decoder_levels(s / "up_blocks", c)),
      middle(s / "mid_block", c.channels.back(), c.groups), norm(s / "conv_norm_out", c.channels[0], c.groups, kEps),
      conv_out(s / "conv_out", c.channels[0], 3, 3) {}
Tensor VaeDecoder::forward(Ctx& cx, const Tensor& z) const {
  Tensor x = middle.forward(cx, conv_in.forward(cx, z, kFeatures));
  for (const VaeLevel& level : levels) {
    for (const VaeResnet& r : level.resnets) x = r.forward(cx, x);
    if (level.resample) {
      const Shape& in = x.shape();
      Tensor doubled = cx.compute({in[0], 2 * in[1], 2 * in[2], in[3]}, kFeatures);
      upsample2x_fwd(cx.stream, {.x = x, .y = doubled});
      x.reset();
      x = level.resample->forward(cx, doubled, kFeatures);
    }
  }
  norm.forward_into(cx, x, /*silu=*/true, x);
  return conv_out.forward(cx, x, kFeatures);
}

// ---- the whole ----

Vae::Vae(Scope s, VaeConfig c)
    : config_(std::move(c)), encoder_(s / "encoder", config_), decoder_(s / "decoder", config_),
      quant_(s / "quant_conv", 2 * config_.latent, 2 * config_.latent, 1),
      post_quant_(s / "post_quant_conv", config_.latent, config_.latent, 1) {}

Tensor Vae::encode(Ctx& cx, ConstView images, std::int64_t chunk) const {
  Range range("vae encoder");
  const std::int64_t factor = config_.factor();
  MFL_CHECK(images && images.shape.rank() == 4 && images.shape[1] % factor == 0 && images.shape[2] % factor == 0 && chunk >= 1,
            "vae: images ", images.shape, ", expected [N, H, W, 3] with H and W multiples of ", factor);
  const std::int64_t N = images.shape[0], H = images.shape[1], W = images.shape[2];
  Tensor moments = cx.accum({N, H / factor, W / factor, 2 * config_.latent}, {"vae moments"});
  for (std::int64_t first = 0; first < N; first += chunk) {
    const std::int64_t count = std::min(chunk, N - first);
    Tensor x = cx.compute({count, H, W, 3}, kFeatures);
    normalize_image_fwd(cx.stream, {.image = slice(images, 0, first, count), .scale = {2, 2, 2}, .offset = {-1, -1, -1}, .y = x});
    const Tensor m = quant_.forward(cx, encoder_.forward(cx, x), kFeatures);
    cast(cx.stream, {.x = m, .y = moments.rows(first, count)});
  }
  return moments;
}

Tensor Vae::latents(Ctx& cx, ConstView moments, ConstView noise) const {
  Shape shape = moments.shape;
  shape[-1] = config_.latent;
  Tensor y = cx.accum(shape, {"latents"});
  sample_posterior(cx.stream, {.moments = moments, .noise = noise, .scale = config_.scaling, .y = y});
  return y;
}

Tensor Vae::decode_raw(Ctx& cx, ConstView latents, std::int64_t chunk) const {
  Range range("vae decoder");
  MFL_CHECK(latents && latents.shape.rank() == 4 && latents.shape[3] == config_.latent && chunk >= 1, "vae: latents ",
            latents.shape, ", expected [N, h, w, ", config_.latent, "]");
  const std::int64_t N = latents.shape[0], h = latents.shape[1], w = latents.shape[2], factor = config_.factor();
  Tensor images = cx.accum({N, h * factor, w * factor, 3}, {"decoded images"});
  for (std::int64_t first = 0; first < N; first += chunk) {
    const std::int64_t count = std::min(chunk, N - first);
    Tensor z = cx.compute({count, h, w, config_.latent}, kFeatures);
    {
      Tensor unscaled = cx.accum(z.shape(), kFeatures);
      cast(cx.stream, {.x = slice(latents, 0, first, count), .y = unscaled});
      scale_(cx.stream, {.x = unscaled, .factor = 1 / config_.scaling});
      cast(cx.stream, {.x = unscaled, .y = z});
    }
    const Tensor x = decoder_.forward(cx, post_quant_.forward(cx, z, kFeatures));
    cast(cx.stream, {.x = x, .y = images.rows(first, count)});
  }
  return images;
}

Tensor Vae::decode(Ctx& cx, ConstView latents, std::int64_t chunk) const {
  Tensor images = decode_raw(cx, latents, chunk), unit = cx.accum(images.shape(), {"decoded images"});
  normalize_image_fwd(cx.stream, {.image = images, .scale = {0.5, 0.5, 0.5}, .offset = {0.5, 0.5, 0.5}, .y = unit});
  clamp_fwd(cx.stream, {.x = unit, .low = 0, .high = 1, .y = unit});
  return unit;
}

void Vae::adapt_names(std::vector<io::NamedStored>& tensors) {
  constexpr std::array<std::array<const char*, 2>, 4> kOld = {
      {{".query.", ".to_q."}, {".key.", ".to_k."}, {".value.", ".to_v."}, {".proj_attn.", ".to_out.0."}}};
  for (io::NamedStored& t : tensors) {
    if (t.name.find("mid_block.attentions.0.") == std::string::npos) continue;
    for (const auto& [old, now] : kOld)
      if (const std::size_t found = t.name.find(old); found != std::string::npos)
        t.name.replace(found, std::string(old).size(), now);
    if (t.tensor.shape.rank() == 4 && t.tensor.shape[2] == 1 && t.tensor.shape[3] == 1) {
      t.tensor.stride = {t.tensor.stride[0], t.tensor.stride[1]};
      t.tensor.shape = {t.tensor.shape[0], t.tensor.shape[1]};
    }
  }
}

}  // namespace mfl::mvdiffusion
