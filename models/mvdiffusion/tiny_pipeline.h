// A whole pipeline folder without published weights: for tests, the demo, and training a narrow network from scratch.
//
//   unet           narrow, fresh weights
//   vae            one level, so latents are as large as images; encode and decode are the identity on pixels
//                  (four latent channels: red, green, blue, their mean), with a posterior of deviation 3e-7
//   image_encoder  narrow CLIP, fresh weights: a random, fixed view of the image
//   and image_normalizer, scheduler, image_noising_scheduler, feature_extractor as published. No text encoder: the prompt
//   embeddings lie in prompt_embeds/clr_embeds.pt, a normal draw for each slot.
#pragma once

#include <filesystem>

#include "models/mvdiffusion/clip_vision.h"
#include "models/mvdiffusion/unet_spec.h"
#include "models/mvdiffusion/vae.h"

namespace mfl::mvdiffusion {

struct TinyPipeline {
  std::int64_t image = 32;                       // side of images and latents
  std::vector<std::int64_t> widths{32, 64};      // of the UNet's levels, multiples of 32: heads of 32 channels
  std::int64_t layers = 1;                       // residual blocks of a down level
  std::uint64_t seed = 0;

  // All levels but the outermost have transformers. Throws ConfigError for sizes that do not fit together.
  UnetSpec unet() const;
  ClipConfig clip() const;
};

// Throws DataError where the folder exists and is not empty.
void write_tiny_pipeline(const std::filesystem::path& folder, const TinyPipeline&);
// The published sizes with fresh weights, the autoencoder's too (it reproduces no image): 6.4 GB, for measuring memory and time.
void write_full_size_pipeline(const std::filesystem::path& folder, std::uint64_t seed = 0);
std::filesystem::path tiny_prompts(const std::filesystem::path& folder);

// The analytic autoencoder. Its group norm sees every colour with its negative (mean 0) and two constant channels +-256,
// which hold the deviation constant within 5e-5; silu(x) - silu(-x) = x undoes the activation; residual branches end in zeros.
VaeConfig identity_vae();
void set_identity_vae(const Stream&, ParamStore&);

}  // namespace mfl::mvdiffusion
