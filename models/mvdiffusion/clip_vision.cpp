#include "models/mvdiffusion/clip_vision.h"

#include <array>
#include <cmath>
#include <string>

#include "kernels/attention/attention.h"
#include "kernels/elementwise/cast.h"
#include "kernels/elementwise/fit.h"
#include "kernels/elementwise/gelu.h"
#include "kernels/elementwise/rows.h"
#include "kernels/embed/patchify.h"
#include "kernels/loss/normalize_image.h"
#include "kernels/resample/bicubic.h"
#include "runtime/profile.h"

namespace mfl::mvdiffusion {
namespace {

// Colour statistics of CLIP's training images, in [0, 1].
constexpr std::array<double, 3> kMean = {0.48145466, 0.4578275, 0.40821073};
constexpr std::array<double, 3> kStd = {0.26862954, 0.26130258, 0.27577711};

// Head sizes that the attention kernel has.
std::int64_t kernel_head(std::int64_t d) { return d <= 32 ? 32 : d <= 64 ? 64 : 128; }

}  // namespace

// Names and order of transformers' state dict.
ClipVision::Layer::Layer(Scope s, const ClipConfig& c)
    : k(s / "self_attn" / "k_proj", c.hidden, c.hidden),
      v(s / "self_attn" / "v_proj", c.hidden, c.hidden),
      q(s / "self_attn" / "q_proj", c.hidden, c.hidden),
      out(s / "self_attn" / "out_proj", c.hidden, c.hidden),
      norm1(s / "layer_norm1", c.hidden, c.eps),
      fc1(s / "mlp" / "fc1", c.hidden, c.intermediate),
      fc2(s / "mlp" / "fc2", c.intermediate, c.hidden),
      norm2(s / "layer_norm2", c.hidden, c.eps) {}

std::deque<ClipVision::Layer> ClipVision::make_layers(Scope s, const ClipConfig& c) {
  std::deque<Layer> layers;
  for (std::int64_t i = 0; i < c.layers; ++i) layers.emplace_back(s / std::to_string(i), c);
  return layers;
}

ClipVision::ClipVision(Scope s, ClipConfig c)
    : config_(c),
      class_embedding_((s / "vision_model" / "embeddings").param("class_embedding", {c.hidden})),
      patches_((s / "vision_model" / "embeddings" / "patch_embedding").kernel("weight", {c.hidden, 3, c.patch, c.patch})),
      positions_((s / "vision_model" / "embeddings" / "position_embedding").param("weight", {1 + c.patches(), c.hidden})),
      pre_norm_(s / "vision_model" / "pre_layrnorm", c.hidden, c.eps),  // sic
      layers_(make_layers(s / "vision_model" / "encoder" / "layers", c)),
      post_norm_(s / "vision_model" / "post_layernorm", c.hidden, c.eps),
      projection_(s / "visual_projection", c.hidden, c.projection, false) {}

// x += out(attention(norm1(x)))
void ClipVision::attention(Ctx& cx, const Layer& layer, const Tensor& x) const {
  Range range("attention");
  const std::int64_t N = x.shape()[0], T = x.shape()[1], C = x.shape()[2], A = config_.heads, D = C / A, wide = kernel_head(D);
  Tensor n = layer.norm1.forward(cx, x, {"clip norm output"});
  auto heads = [&](const nn::FrozenLinear& to) {
    Tensor h = to.forward(cx, n, {"clip attention"}).reshape({N, T, A, D});
    if (wide == D) return h;
    Tensor padded = cx.compute({N, T, A, wide}, {"clip attention"});
    fit(cx.stream, {.x = h, .y = padded});
    return padded;
  };
  Tensor q = heads(layer.q), k = heads(layer.k), v = heads(layer.v);
  n.reset();
  Tensor y = cx.compute({N, T, A, wide}, {"clip attention"});
  attention_fwd(cx.stream, {.q = q, .k = k, .v = v, .scale = static_cast<float>(1 / std::sqrt(static_cast<double>(D))), .y = y});
  if (wide != D) {
    Tensor narrow = cx.compute({N, T, A, D}, {"clip attention"});
    fit(cx.stream, {.x = y, .y = narrow});
    y = std::move(narrow);
  }
  layer.out.forward_into(cx, y.reshape({N, T, C}), x, /*add=*/true);
}

// x += fc2(gelu(fc1(norm2(x))))
void ClipVision::mlp(Ctx& cx, const Layer& layer, const Tensor& x) const {
  Range range("mlp");
  Tensor h;
  {
    Tensor n = layer.norm2.forward(cx, x, {"clip norm output"});
    h = layer.fc1.forward(cx, n, {"clip mlp hidden"});
  }
  gelu_fwd(cx.stream, {.x = h, .y = h});
  layer.fc2.forward_into(cx, h, x, /*add=*/true);
}

Tensor ClipVision::forward(Ctx& cx, const Tensor& pixels) const {
  Range range("clip");
  const std::int64_t N = pixels.shape()[0], S = config_.image, P = config_.patch, T = 1 + config_.patches(), C = config_.hidden;
  MFL_CHECK((pixels.shape() == Shape{N, S, S, 3}), "clip: pixels ", pixels.shape(), ", expected ", Shape{N, S, S, 3});
  Tensor x = cx.accum({N, T, C}, {"clip residual stream"});
  {
    // The convolution as a product: its stride is its size.
    Tensor cut = cx.compute({N, T - 1, P * P * 3}, {"clip patches"}), tokens = cx.compute({N, T - 1, C}, {"clip patches"});
    patchify(cx.stream, {.image = pixels, .patch = static_cast<int>(P), .patches = cut});
    linear_fwd(cx.stream, {.x = cut, .weight = patches_.compute.reshape({C, P * P * 3}), .y = tokens});
    for (std::int64_t n = 0; n < N; ++n) {
      const View row = reshape(slice(View(x), 0, n, 1), {T, C});
      cast(cx.stream, {.x = class_embedding_.value.reshape({1, C}), .y = slice(row, 0, 0, 1)});
      cast(cx.stream, {.x = tokens.rows(n, 1).reshape({T - 1, C}), .y = slice(row, 0, 1, T - 1)});
    }
  }
  add_row_vector(cx.stream, {.x = x.reshape({N, T * C}), .v = positions_.value.reshape({T * C})});
  {
    Tensor normed = cx.accum(x.shape(), {"clip residual stream"});
    pre_norm_.forward_into(cx, x, normed);
    x = std::move(normed);
  }
  for (const Layer& layer : layers_) {
    attention(cx, layer, x);
    mlp(cx, layer, x);
  }
  Tensor first = cx.accum({N, 1, C}, {"clip class token"});
  fit(cx.stream, {.x = x, .y = first});   // token 0 of every image
  Tensor embeds = cx.accum({N, config_.projection}, {"clip image embeddings"});
  projection_.forward_into(cx, post_norm_.forward(cx, first.reshape({N, C}), {"clip norm output"}), embeds);
  return embeds;
}

Tensor clip_pixels(Ctx& cx, ConstView images, std::int64_t size) {
  MFL_CHECK(images && images.shape.rank() == 4 && images.shape[1] == images.shape[2] && images.shape[3] == 3,
            "clip_pixels: images ", images.shape, ", expected square ones [N, H, H, 3]");
  const std::int64_t N = images.shape[0], H = images.shape[1];
  const bool bytes = images.dtype == DType::u8;
  const DType real = bytes ? DType::f32 : images.dtype;
  Tensor rows = cx.arena.empty({N, H, size, 3}, images.dtype, {"clip resized image"});
  Tensor small = cx.arena.empty({N, size, size, 3}, real, {"clip resized image"});
  resize_bicubic(cx.stream, {.x = images, .rows = rows, .y = small});
  rows.reset();
  Tensor pixels = cx.compute({N, size, size, 3}, {"clip pixels"});
  NormalizeImageFwd a{.image = small, .y = pixels};
  for (std::size_t c = 0; c < 3; ++c) a.scale[c] = 1 / kStd[c], a.offset[c] = -kMean[c] / kStd[c];
  normalize_image_fwd(cx.stream, a);
  return pixels;
}

}  // namespace mfl::mvdiffusion
