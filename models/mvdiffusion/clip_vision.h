// The image encoder of SD-2.1-unCLIP: CLIP's vision transformer with its projection, frozen.
//                                          Radford et al. 2021; CLIPVisionModelWithProjection of transformers
//   patches (convolution of stride P, no bias) -> [class; patches] + positions -> layer norm -> L layers of
//   x += attention(norm(x)), x += fc2(gelu(fc1(norm(x)))) -> token 0 -> layer norm -> projection (no bias).
//   Exact GELU, biases, full attention, scale D^-1/2. The residual stream is of accum type. ViT-H/14 has heads of 80, which
//   are widened to 128 by zeros for the attention kernel: the logits and the result are the same.
#pragma once

#include <deque>

#include "models/mvdiffusion/json_config.h"
#include "models/nn/frozen.h"

namespace mfl::mvdiffusion {

struct ClipConfig {
  std::int64_t hidden = 1280, intermediate = 5120, layers = 32, heads = 16, image = 224, patch = 14, projection = 1024;
  float eps = 1e-5f;
  std::int64_t patches() const { return (image / patch) * (image / patch); }
  // image_encoder/config.json. Throws DataError for what is not implemented (another activation, other channels).
  static ClipConfig read(const JsonConfig&);
};

class ClipVision {
 public:
  ClipVision(Scope, ClipConfig);

  // pixels [N, S, S, 3] compute type, as clip_pixels makes them -> image_embeds [N, projection] accum type, not normalised.
  Tensor forward(Ctx&, const Tensor& pixels) const;
  const ClipConfig& config() const { return config_; }

 private:
  struct Layer {
    nn::FrozenLinear k, v, q, out;
    nn::FrozenLayerNorm norm1;
    nn::FrozenLinear fc1, fc2;
    nn::FrozenLayerNorm norm2;
    Layer(Scope, const ClipConfig&);
  };
  static std::deque<Layer> make_layers(Scope, const ClipConfig&);
  void attention(Ctx&, const Layer&, const Tensor& x) const;
  void mlp(Ctx&, const Layer&, const Tensor& x) const;

  ClipConfig config_;
  Param& class_embedding_;         // [C]
  Param& patches_;                 // [C, 3, P, P], in memory [C, P, P, 3]
  Param& positions_;               // [1 + patches, C]
  nn::FrozenLayerNorm pre_norm_;
  std::deque<Layer> layers_;
  nn::FrozenLayerNorm post_norm_;
  nn::FrozenLinear projection_;
};

// CLIP's input from square images [N, H, H, 3]: bicubic with antialiasing to S x S, then (x - mean) / std with CLIP's
// statistics. The two published preprocessings differ:
//   f32 in [0, 1]: as in training, overshoot of the filter is kept;
//   u8: as at inference (CLIPImageProcessor), Pillow's bytes. A float image becomes bytes by truncation, 255 x, there.
// Returns [N, S, S, 3] compute type.
Tensor clip_pixels(Ctx&, ConstView images, std::int64_t size);

}  // namespace mfl::mvdiffusion
