// Everything of an MVDiffusion run that lives on one device: memory, the UNet with its optimizer and moving average, the frozen
// encoders, the prompts. The trainer, the dry run and the tests drive the same object; on `meta` it computes nothing and its
// arenas count.
//
//   O objects of V views in a micro-batch, N = O V samples, views fastest; H x H images of h x h latents of C channels.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/gslrm/loss.h"
#include "models/mvdiffusion/pipeline.h"
#include "train/ema_weights.h"
#include "train/mvdiffusion/batch.h"
#include "train/mvdiffusion/config.h"
#include "train/optimizer.h"

namespace mfl::mvdiffusion {

struct StageOptions {
  Device device{};
  DType compute = DType::f32;
  Offload offload = Offload::none;
  ShardRanks shard = {};            // whom the optimizer's state and the moving average are divided among
  bool recompute = false;           // blocks of the down and up levels are rebuilt in backward
  std::size_t memory_bytes = 0;     // of the device; bounds the arenas. 0: ask the device
};

// What the frozen encoders say about a micro-batch.
struct EncodedObjects {
  Tensor moments;        // [N, h, w, 2 C] accum type, of the views
  Tensor condition;      // [O, h, w, C] accum type: scaled latents of the references, the posterior's mean
  Tensor embeddings;     // [O, E] accum type, of the references
  Tensor text;           // [N, L, W] compute type: each slot's prompt
};

// Which draws a micro-batch makes: noise is keyed by (seed, step, object), objects counted over ranks and micro-batches.
struct MicroBatch {
  std::uint64_t step = 0;
  std::uint32_t first_object = 0;
  bool accumulate = false;          // parameter gradients add
};

class Stage {
 public:
  // No `files`: the published sizes, on meta. Throws DataError, ConfigError: components that do not fit together or to the configuration.
  Stage(const TrainConfig&, const PipelineFiles*, StageOptions);
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  // Weights of all components, the moving average as a copy of the UNet's, the prompt embeddings. Throws DataError.
  void load();

  // Encodes the batch's images, each distinct one once; known ones are uploaded. `pixels` [N, H, H, 3] accum type on the device, absent
  // where nothing needs them.
  EncodedObjects encode(const ObjectBatch&, ConstView pixels, StepEncoder&);
  // The objects are let go before backward. A training step's forward and backward: latents are drawn, noised and dropped, the UNet predicts velocity, the loss is
  // min-SNR weighted. loss [1] accum type, out. `ready` is called as gradient ranges complete.
  void micro_batch(EncodedObjects, const MicroBatch&, View loss, const std::function<void(ParamRange)>& ready = [](ParamRange) {});
  // Its second half, from the network's input on: velocity [N, h, w, C] and weights [N] accum type.
  void pass(const Unet::Input&, ConstView velocity, ConstView weights, bool accumulate, View loss,
            const std::function<void(ParamRange)>& ready = [](ParamRange) {});
  // The prompts of slots, [rows, L, W] compute type.
  Tensor text(const std::vector<int>& prompts);

  Ctx context();
  const perceptual::LpipsLoss* lpips() const { return metric_networks.lpips.get(); }
  const TrainConfig& config() const { return config_; }
  std::size_t peak_bytes() const { return weights.peak_bytes() + step.peak_bytes(); }

  // Declaration order is destruction order reversed: arenas outlive what they hold.
  Stream stream;
  Arena weights, step;              // parameters, moments, average and encoders; activations
  UnetSpec spec;
  ParamStore params;                // of the UNet
  Unet unet;
  Encoders encoders;
  std::unique_ptr<Optimizer> optimizer;
  std::optional<EmaWeights> ema;    // where use_ema
  Tensor prompts;                   // [slots, L, W] compute type
  gslrm::LossNetworks metric_networks;   // LPIPS of validation, where its files are named; in no checkpoint
  Tensor loss_per_sample;           // [N] accum type: of the last micro-batch

 private:
  TrainConfig config_;
  TrainingTables tables_;
};

// The UNet of a run: its folder's sizes with the configuration's views, attention and recomputation. A network of four input
// channels becomes one of eight.
std::filesystem::path unet_folder(const TrainConfig&);
UnetSpec unet_spec(const TrainConfig&, const PipelineFiles*, bool recompute);
// trainable_modules: parameters of modules whose name ends with one of these; empty: all.
void choose_trainable(ParamStore&, const std::vector<std::string>& endings);

}  // namespace mfl::mvdiffusion
