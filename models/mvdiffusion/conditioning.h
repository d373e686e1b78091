// What the UNet reads in a training step, and what its output is compared with: made from latents and image embeddings.
//
//   O objects of V views (6 in the published model), N = O V samples, views fastest. h, w: latent rows and columns.
//   Latents are scaled (Vae::latents) and of accum type.
#pragma once

#include <filesystem>
#include <optional>

#include "models/mvdiffusion/schedulers.h"
#include "runtime/module.h"

namespace mfl::mvdiffusion {

// Statistics of image embeddings, image_normalizer/: [C] accum type. The published ones are 0 and 1.
struct Normalizer {
  Tensor mean, std;
  // Throws DataError: another width, a deviation that is not positive.
  static Normalizer load(const Stream&, Arena&, DType accum, const std::filesystem::path& folder, std::int64_t width);
  static Normalizer identity(const Stream&, Arena&, DType accum, std::int64_t width);
};

// The class vectors of N = R O samples from O embeddings [O, C]: noise of `level` (0 in all published uses, which is not
// free of noise: 0.0064), then the level's sinusoid; [N, 2 C] compute type. Sample n draws from streams[n], [N] i32.
// `keep` [N] accum type, not given: all.
Tensor class_vectors(Ctx&, const Normalizer&, const NoiseSchedule& embedding_noise, ConstView embeddings, ConstView streams,
                     std::uint64_t seed, std::uint64_t step, ConstView keep = {}, std::int64_t level = 0);

// The UNet's input [N, h, w, 2 C] compute type: latents [N, h, w, C] beside the condition, which is given once per object,
// [O, h, w, C], or once per sample.
Tensor join_condition(Ctx&, ConstView latents, ConstView condition);

// One draw of an object in a step. r uniform in [0, 1), p the drop rate: r < p drops the class vector, r < 2 p both, r < 3 p
// the condition latents, else nothing ("drop_as_a_whole"). The text is never dropped.
struct ObjectDraw {
  std::int64_t timestep = 0;   // uniform; shared by the object's views, whose noise is their own
  bool keep_embedding = true, keep_condition = true;
};
ObjectDraw draw_object(std::uint64_t seed, std::uint64_t step, std::uint32_t object, int timesteps, double drop_rate);

// Per-sample numbers of one step on the device: one upload, no wait. `object` counts over ranks and micro-batches, so
// that ranks draw different noise and a draw depends on no batch size.
class TrainingTables {
 public:
  TrainingTables(const Stream&, Arena&, DType accum, std::int64_t objects, std::int64_t views);
  void set(const Stream&, const NoiseSchedule&, double snr_gamma, double drop_rate, std::uint64_t seed, std::uint64_t step,
           std::uint32_t first_object);

  Tensor noisy, velocity;              // [N, 2] mix weights of {x0, noise}
  Tensor loss_weights;                 // [N]
  Tensor keep_embedding;               // [N]     0 or 1
  Tensor keep_condition;               // [O, 1]  0 or 1
  Tensor timesteps, streams;           // [N] i32
  std::int64_t objects() const { return keep_condition.shape()[0]; }
  std::int64_t views() const { return streams.shape()[0] / objects(); }

 private:
  DType accum_;
  Tensor flat_, whole_;                // the device's memory of the above: [6 N + O] accum type, [2 N] i32
  Tensor host_flat_, host_whole_;      // pinned
  std::optional<Event> copied_;
};

struct TrainingInput {
  Tensor sample;         // [N, h, w, 2 C] compute type: noisy latents, then the condition
  Tensor class_labels;   // [N, 2 C] compute type
  Tensor velocity;       // [N, h, w, C] accum type: the target
};
// x0 [N, h, w, C], condition [O, h, w, C], embeddings [O, E].
TrainingInput training_input(Ctx&, const TrainingTables&, const Normalizer&, const NoiseSchedule& embedding_noise, ConstView x0,
                             ConstView condition, ConstView embeddings, std::uint64_t seed, std::uint64_t step);

}  // namespace mfl::mvdiffusion
