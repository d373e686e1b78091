// Stable Diffusion's autoencoder, frozen: images 8 times as wide and high as their latents.   AutoencoderKL of diffusers
//
//   ResNet: x + conv(silu(gn(conv(silu(gn(x)))))), with a 1x1 shortcut where the width changes. Group norm of 32 groups,
//   eps 1e-6. Encoder: levels of L resnets, each but the last followed by a 3x3 convolution of stride 2 on an image padded by
//   one row at the bottom and one column at the right; resnet, attention, resnet; norm, SiLU, convolution to 2 C channels;
//   1x1. Decoder: the mirror with L + 1 resnets a level, nearest doubling and a convolution after each level but the last.
//   Attention: one head as wide as the channels, all pixels of one image.
//   Activations are of compute type; images and latents that enter and leave are of accum type.
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "models/mvdiffusion/json_config.h"
#include "models/nn/conv2d.h"
#include "models/nn/frozen.h"
#include "runtime/io/stored_tensor.h"

namespace mfl::mvdiffusion {

struct VaeConfig {
  std::vector<std::int64_t> channels = {128, 256, 512, 512};   // by level, from the image
  std::int64_t layers = 2, latent = 4, groups = 32;
  double scaling = 0.18215;
  std::int64_t factor() const { return std::int64_t{1} << (channels.size() - 1); }   // image pixels a latent pixel, 8
  // vae/config.json. Throws DataError for what is not implemented.
  static VaeConfig read(const JsonConfig&);
};

// The two halves' parts; names are diffusers'.
struct VaeResnet {
  nn::FrozenGroupNorm norm1;
  nn::Conv2d conv1;
  nn::FrozenGroupNorm norm2;
  nn::Conv2d conv2;
  std::optional<nn::Conv2d> shortcut;            // where the width changes
  VaeResnet(Scope, std::int64_t in, std::int64_t out, std::int64_t groups);
  Tensor forward(Ctx&, const Tensor& x) const;       // [N, H, W, in] -> [N, H, W, out]
};
struct VaeAttention {
  nn::FrozenGroupNorm norm;
  nn::FrozenLinear q, k, v, out;
  VaeAttention(Scope, std::int64_t c, std::int64_t groups);
  Tensor forward(Ctx&, const Tensor& x) const;       // [N, H, W, C], a new tensor
};
struct VaeMiddle {
  VaeAttention attention;
  VaeResnet first, last;
  VaeMiddle(Scope, std::int64_t c, std::int64_t groups);
  Tensor forward(Ctx&, const Tensor& x) const;
};
struct VaeLevel {
  std::deque<VaeResnet> resnets;
  std::optional<nn::Conv2d> resample;            // stride 2 on a padded image, or after doubling
};

struct VaeEncoder {
  nn::Conv2d conv_in;
  std::deque<VaeLevel> levels;
  VaeMiddle middle;
  nn::FrozenGroupNorm norm;
  nn::Conv2d conv_out;
  VaeEncoder(Scope, const VaeConfig&);
  Tensor forward(Ctx&, const Tensor& x) const;       // [N, H, W, 3] -> [N, h, w, 2 C], before the 1x1
};
struct VaeDecoder {
  nn::Conv2d conv_in;
  std::deque<VaeLevel> levels;
  VaeMiddle middle;
  nn::FrozenGroupNorm norm;
  nn::Conv2d conv_out;
  VaeDecoder(Scope, const VaeConfig&);
  Tensor forward(Ctx&, const Tensor& z) const;       // [N, h, w, C] after the 1x1 -> [N, H, W, 3]
};

class Vae {
 public:
  // Images in flight at once: about 0.4 GB each while a 512x512 one is decoded in bf16.
  static constexpr std::int64_t kChunk = 4;

  Vae(Scope, VaeConfig);
  const VaeConfig& config() const { return config_; }

  // images [N, H, W, 3] accum type in [0, 1] -> moments [N, h, w, 2 C] accum type: mean, then log-variance (not clamped).
  // H and W are multiples of factor().
  Tensor encode(Ctx&, ConstView images, std::int64_t chunk = kChunk) const;
  // moments -> latents [N, h, w, C] accum type, times the scaling factor: the mean (a condition), or with noise
  // [N, h, w, C] accum type a draw (a training target).
  Tensor latents(Ctx&, ConstView moments, ConstView noise = {}) const;
  // Scaled latents [N, h, w, C] accum type -> images [N, H, W, 3] accum type, clamped to [0, 1].
  Tensor decode(Ctx&, ConstView latents, std::int64_t chunk = kChunk) const;
  // The same, before the map from [-1, 1] and the clamp.
  Tensor decode_raw(Ctx&, ConstView latents, std::int64_t chunk = kChunk) const;

  // For load_component: files from before 2023 name the attention's products query, key, value and proj_attn, some as 1x1
  // convolutions.
  static void adapt_names(std::vector<io::NamedStored>&);

 private:
  VaeConfig config_;
  VaeEncoder encoder_;
  VaeDecoder decoder_;
  nn::Conv2d quant_, post_quant_;
};

}  // namespace mfl::mvdiffusion
