// The components of a pipeline folder on one device, and what is done with them: encode an image, sample its views, decode.
//
//   O objects of V views, views fastest (the UNet's spec().views). H x H images of h x h latents.
#pragma once

#include <filesystem>
#include <optional>
#include <span>

#include "models/mvdiffusion/clip_vision.h"
#include "models/mvdiffusion/conditioning.h"
#include "models/mvdiffusion/pipeline_files.h"
#include "models/mvdiffusion/sampling.h"
#include "models/mvdiffusion/unet.h"
#include "models/mvdiffusion/vae.h"

namespace mfl::mvdiffusion {

// Everything but the UNet: frozen, in a compute type of its own. Training and inference share it.
class Encoders {
 public:
  // Reads the configurations and the embeddings' statistics, lays out the networks in `weights`. On meta configurations only.
  Encoders(const PipelineFiles&, const Stream&, Arena& weights, DType compute);
  // The published sizes, on meta: for a plan where there is no pipeline folder.
  Encoders(const Stream&, Arena& weights, DType compute);
  Encoders(const Encoders&) = delete;
  Encoders& operator=(const Encoders&) = delete;
  // The weights, with their coverage tables. Throws DataError.
  void load(const Stream&);
  // Throws DataError unless the UNet reads these latents and embeddings.
  void require_fit(const UnetSpec&) const;

  // images [N, H, W, 3] accum type in [0, 1] -> [N, h, w, 2 C] accum type: mean and log-variance (Vae::latents).
  Tensor moments(Ctx&, ConstView images) const;
  // images [N, H, H, 3] -> [N, E] accum type. Accum type in [0, 1]: as in training; u8: as at inference (clip_pixels).
  Tensor embeddings(Ctx&, ConstView images) const;
  // moments -> scaled latents: Vae::latents. Scaled latents -> images [N, H, W, 3] accum type, clamped to [0, 1].
  Tensor latents(Ctx&, ConstView moments, ConstView noise = {}) const;
  Tensor decode(Ctx&, ConstView latents) const;

  std::int64_t factor() const { return vae_.config().factor(); }       // H / h
  std::int64_t latent_channels() const { return vae_.config().latent; }
  std::int64_t embedding_width() const { return clip_.config().projection; }
  DType compute() const { return precision_.compute; }
  const PipelineFiles& files() const { return *files_; }
  std::int64_t parameters() const { return vae_store_.numel() + clip_store_.numel(); }

  const Normalizer& normalizer() const { return *normalizer_; }
  const NoiseSchedule& schedule() const { return scheduler_.schedule; }
  const NoiseSchedule& embedding_noise() const { return embedding_noise_; }
  int steps_offset() const { return scheduler_.steps_offset; }

 private:
  Ctx own(const Ctx&) const;
  std::optional<PipelineFiles> files_;
  Precision precision_;
  Arena& weights_;
  ParamStore vae_store_, clip_store_;
  Vae vae_;
  ClipVision clip_;
  PipelineFiles::Scheduler scheduler_{NoiseSchedule::scaled_linear(), 1};
  NoiseSchedule embedding_noise_ = NoiseSchedule::squared_cosine();
  std::optional<Normalizer> normalizer_;
};

// What sampling reads of the input images: once per image, for any number of samplings.
struct Condition {
  Tensor latents;      // [O, h, w, C] accum type: the posterior's mean, scaled
  Tensor embeddings;   // [O, E] accum type
};
// images [O, H, H, 3] accum type in [0, 1], and the same as bytes.
Condition encode_condition(Ctx&, const Encoders&, ConstView images, ConstView bytes);

struct ViewsInput {
  Condition condition;
  Tensor text;             // [O V, L, E] compute type: the prompt of every slot
  Tensor streams;          // [O V] i32, as view_streams() gives them
  std::uint64_t seed = 0;
};
// Scaled latents [O V, h, w, C] accum type; Encoders::decode makes images of them. `cx` is the UNet's.
Tensor sample_views(Ctx&, const Encoders&, const Unet&, const SamplerTable&, const ViewsInput&);

// Noise streams of the views of objects: an object's noise is a function of the seed and its number, whatever the batch.
Tensor view_streams(std::span<const std::uint32_t> objects, std::int64_t views);   // [O V] i32, host

}  // namespace mfl::mvdiffusion
