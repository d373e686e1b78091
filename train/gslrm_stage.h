// Everything of a GS-LRM run that lives on one device: memory, parameters, model, loss networks, renderer, optimizer. The
// trainer, the dry run and the golden tests drive the same object; on `meta` it computes nothing and its arenas count.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "models/gslrm/loss.h"
#include "models/gslrm/renderer.h"
#include "models/weights/loss_networks.h"
#include "train/config.h"
#include "train/optimizer.h"

namespace mfl {

struct StageOptions {
  Device device{};
  Precision precision{};
  int recompute_segment = 0;        // 0: all activations are kept
  std::size_t memory_bytes = 0;     // of the device; bounds the arenas. 0: ask the device
  ShardRanks shard = {};            // whom the optimizer's state is divided among
  bool lpips_metric = false;        // LPIPS' network for validation, although no loss uses it
};

// What a caller sees of a micro-batch while it runs.
struct PassHooks {
  std::function<void(ParamRange)> ready = [](ParamRange) {};   // called as gradient ranges complete
  // Renders [B*V, h, w, 3] accum type and their targets [B*V, h, w, 3 or 4], before the losses; gone when it returns.
  std::function<void(const Tensor& render, const Tensor& target)> rendered = {};
};

class GslrmStage {
 public:
  GslrmStage(const GslrmConfig&, StageOptions);
  GslrmStage(const GslrmStage&) = delete;
  GslrmStage& operator=(const GslrmStage&) = delete;

  // Fills the loss networks and the metric's. Throws DataError that says which file is missing.
  void load_networks(const weights::LossNetworkSources&);

  // One micro-batch: forward, losses of positive weight, backward. Parameter gradients overwrite, or add when `accumulate`.
  // `target`: what is rendered and compared, the same views or crops of them. terms [kTerms] accum type, out.
  void micro_batch(const gslrm::Views& views, const gslrm::Views& target, const gslrm::LossConfig& weights, bool accumulate,
                   View terms, const PassHooks& = {});

  // Without gradients: Gaussians of the inputs, rendered to every view of the batch.
  struct Rendered {
    gslrm::GaussianBatch gaussians;
    Tensor image;                   // [B, V, H, W, 3] accum type
    Tensor tokens;                  // [B, T, d]
  };
  Rendered render(const gslrm::Views& views) { return render(views, views); }
  Rendered render(const gslrm::Views& views, const gslrm::Views& target);   // inputs, and what is rendered, of their own
  // One sample's Gaussians from other cameras; image [V, H, W, 3].
  Tensor render(const gslrm::Gaussians&, const gslrm::Cameras&);

  Ctx context();
  const GslrmConfig& config() const { return config_; }

  // Declaration order is destruction order reversed: arenas outlive what they hold.
  Stream stream;
  Arena weights, step, splats;      // parameters and moments; activations; the rasterizer's data-dependent buffers
  gslrm::ModelSpec spec;
  ParamStore params;
  gslrm::Model model;
  gslrm::LossNetworks networks;           // of the losses; part of every checkpoint
  gslrm::LossNetworks metric_networks;    // LPIPS where only validation uses it; in no checkpoint
  gslrm::Renderer renderer;
  std::unique_ptr<Optimizer> optimizer;   // made by seal; knows how its state is divided

  // LPIPS for validation: the loss's network or the metric's own; null where there is none.
  const perceptual::LpipsLoss* lpips() const { return networks.lpips ? networks.lpips.get() : metric_networks.lpips.get(); }
  std::size_t peak_bytes() const { return weights.peak_bytes() + step.peak_bytes() + splats.peak_bytes(); }

 private:
  gslrm::Cameras cameras_of(const gslrm::Views&, std::int64_t b) const;
  GslrmConfig config_;
};

}  // namespace mfl
