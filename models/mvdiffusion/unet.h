// The multi-view UNet of MVDiffusion (FaceLift stage 1, `UNetMV2DConditionModel`): noisy latents in, predicted velocity out.
//
//   N = objects x views samples, views fastest. sample [N, H, W, 8] is the noisy latents (channels 0..3) beside the clean
//   latents of the input image (4..7).
//   emb = time_embedding(sinusoid(t)) + class_embedding(labels); each residual block adds a projection of silu(emb).
//   conv_in; down levels of residual blocks and transformers, every output a skip; the middle; up levels that read
//   [current, skip], skips last-in first-out; group norm, SiLU, conv_out.
//
// Parameter names and order are the published state dict's: 690 tensors at full size.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "models/mvdiffusion/unet_blocks.h"

namespace mfl::mvdiffusion {

class Unet {
 public:
  Unet(Scope, const UnetSpec&);

  struct Input {
    Tensor sample;                                     // [N, H, W, in_channels] compute type; H, W multiples of 2^(levels - 1)
    Tensor timesteps;                                  // [N] i32 | accum type
    Tensor class_labels;                               // [N, class_width] compute type
    Tensor text;                                       // [N, L, text_width] compute type
  };
  struct Saved {
    nn::Linear::Saved time_1, time_2, class_1, class_2;   // [N, C0], [N, E], [N, class_width], [N, E] compute type
    Tensor time_hidden, class_hidden;                  // [N, E] compute type, before SiLU
    Tensor emb, active;                                // [N, E] accum and compute type: the sum, and its SiLU
    Tensor sample, text;
    std::vector<Kept<ResnetCall>> resnets;             // in the order of forward
    std::vector<Kept<TransformerCall>> transformers;
    std::vector<Tensor> resampled;                     // what the convolutions of down and up samplers read
    nn::GroupNorm::Saved norm_out;                     // [N, H, W, C0]
  };

  // [N, H, W, out_channels], compute type.
  Tensor forward(Ctx&, const Input&, Saved&) const;
  // Parameter gradients only: inputs have none. Calls cx.grads_ready as ranges complete.
  void backward(Ctx&, Saved, Tensor dy) const;

  const UnetSpec& spec() const { return spec_; }
  // FLOPs of the products of one sample's forward pass at a latent side of `size` and `text_length` tokens, for MFU.
  double forward_flops(std::int64_t size, std::int64_t text_length) const;

 private:
  // One level: [resnet, transformer if it attends] x n, then the sampler where there is one.
  struct Level {
    std::deque<ViewTransformer> attentions;
    std::deque<Resnet> resnets;
    std::optional<ParamSpan> sampler_params;
    std::optional<nn::Conv2d> sampler;
  };
  struct Embedding {                                   // linear_2(silu(linear_1(x)))
    nn::Linear linear_1, linear_2;
    Embedding(Scope s, std::int64_t in, std::int64_t width)
        : linear_1(s / "linear_1", in, width, true), linear_2(s / "linear_2", width, width, true) {}
    // emb = or += the embedding; emb accum type.
    void forward(Ctx&, const Tensor& x, nn::Linear::Saved& first, Tensor& hidden, nn::Linear::Saved& second, View emb, bool add) const;
    void backward(Ctx&, nn::Linear::Saved first, Tensor hidden, nn::Linear::Saved second, const Tensor& demb) const;
  };
  void embed(Ctx&, const Input&, Saved&) const;
  void embed_backward(Ctx&, Saved&, Tensor dactive) const;

  UnetSpec spec_;
  ParamSpan stem_params_;
  nn::Conv2d conv_in_;
  Embedding time_embedding_, class_embedding_;
  std::deque<Level> down_, up_, middle_;               // middle_: one level
  std::unique_ptr<ParamSpan> head_params_;
  std::unique_ptr<nn::GroupNorm> conv_norm_out_;
  std::unique_ptr<nn::Conv2d> conv_out_;
};

// The UNet of a folder in the diffusers layout into the store, with the coverage table. Where the file's conv_in has four
// input channels and the model eight, those four are taken and the others are zero; weights of eight trained channels stay
// as they are (the published loader zeroes them again: models/README.md, Deviations). Throws DataError as
// weights::load_parameters does.
void load_unet(const Stream&, ParamStore&, const std::filesystem::path& folder);

}  // namespace mfl::mvdiffusion
