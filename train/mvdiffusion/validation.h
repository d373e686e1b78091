// Validation of the diffusion stage: the views of a fixed set are sampled with fixed noise at every guidance scale and compared
// with the truth. The same noise for every scale, every validation and any number of ranks.
//
//   <folder>/global_step_%04d/<sample>/{input.png, gt.png, pred_gs_%.1f.png, grid.png}      the first samples
//   <folder>/global_step_%04d/validation-metrics.txt
//   metrics: psnr-guidance_scale-1.0, ssim-, lpips-, psnr_foreground-, mask_iou- likewise, and slot_order-: the share of
//   views that are nearest to their own slot's truth.
#pragma once

#include <array>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "models/mvdiffusion/pipeline.h"
#include "models/perceptual/lpips.h"
#include "runtime/comm/communicator.h"
#include "train/metric_sums.h"
#include "train/validation_result.h"

namespace mfl {

// One object, host memory. Views in slot order.
struct ViewSample {
  std::string name;
  std::uint32_t noise = 0;          // number of its noise (mvdiffusion::view_streams)
  Tensor reference;                 // [H, H, 3] u8: what the network is given
  Tensor truth = {};                // [V, H, H, 3 or 4] f32 in [0, 1], composited; the fourth channel is alpha. Empty: unknown
  std::vector<int> prompts;         // [V] rows of the prompt embeddings
  std::array<double, 3> background{1, 1, 1};
  std::string origin = "{}";        // JSON object: where it comes from, for whoever keeps a record
};
// A fixed set: sample i is the same at every call. Called from one thread. `name`: of sample i, without its pixels.
struct ViewSet {
  std::int64_t size = 0;
  std::function<ViewSample(std::int64_t)> sample;
  std::function<std::string(std::int64_t)> name = {};
};

struct ViewValidationOptions {
  std::vector<double> guidance{1, 3};
  mvdiffusion::SamplerConfig sampler{.steps = 20};   // but for the guidance
  std::uint64_t seed = 0;
  std::int64_t batch = 2;           // objects in flight
  std::int64_t pictures = 2;        // samples that are drawn
  std::filesystem::path folder;     // empty: nothing is drawn
};

// Metrics of one sample: predicted views [V, H, H, 3] f32 host against its truth; names without a suffix, no LPIPS.
Metrics view_metrics(const Tensor& predicted, const ViewSample&);
// Share of predicted views whose nearest truth (mean squared error) is that of their own slot.
double slot_order(const Tensor& predicted, const Tensor& truth);

class ViewValidation {
 public:
  // `prompts` [slots, L, E], the UNet's compute type, on the device. `lpips` may be null; its precision is the context's.
  ViewValidation(const mvdiffusion::Encoders&, const mvdiffusion::Unet&, Tensor prompts, ViewSet, Communicator&,
                 ViewValidationOptions, const perceptual::LpipsLoss* lpips = nullptr);
  // Collective; the context is the UNet's. Shows whatever the UNet's parameters hold: the caller puts the moving average
  // there. A metric that is not finite throws DataError: a failed validation must not pass for a result. What one rank's share
  // throws, all ranks throw.
  ValidationResult run(Ctx&, std::int64_t step);

 private:
  // This rank's samples.
  void share(Ctx&, std::int64_t step, const std::filesystem::path& folder, const std::vector<mvdiffusion::SamplerTable>&, MetricSums&,
             ValidationResult&);

  const mvdiffusion::Encoders& encoders_;
  const mvdiffusion::Unet& unet_;
  Tensor prompts_;
  ViewSet set_;
  Communicator& comm_;
  ViewValidationOptions options_;
  const perceptual::LpipsLoss* lpips_;
};

}  // namespace mfl
