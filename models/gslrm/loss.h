// The training losses of GS-LRM (gslrm/model/utils_losses.py, LossComputer): every term a mean over the B * Vt images
// jointly, total = sum of weight * term. Always f32 (f64 for f64): none of these survive 16 bits.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "models/gslrm/config.h"
#include "models/gslrm/model.h"
#include "models/perceptual/lpips.h"
#include "models/perceptual/perceptual.h"

namespace mfl::gslrm {

enum Term : int { kL2, kLpips, kPerceptual, kSsim, kPixelAlign, kPointsDist, kBackground, kUsage, kTerms };
inline constexpr std::array<const char*, kTerms> kTermNames = {"l2_loss",         "lpips_loss",      "perceptual_loss",
                                                               "ssim_loss",       "pixelalign_loss", "pointsdist_loss",
                                                               "background_loss", "gaussians_usage"};
std::array<double, kTerms> weights_of(const LossConfig&);    // 0 for gaussians_usage, which is no loss
// sum of weight * term; a term whose weight is 0 was not evaluated and counts nothing.
double total(const LossConfig&, const std::array<double, kTerms>& terms);

// The frozen networks that the weights ask for; built once, when a weight is above 0.
struct LossNetworks {
  std::unique_ptr<ParamStore> lpips_params, perceptual_params;     // f32, the checkpoint's names
  std::unique_ptr<perceptual::LpipsLoss> lpips;
  std::unique_ptr<perceptual::PerceptualLoss> perceptual;

  void build(const Stream&, Arena&, const LossConfig&);
  // After the parameters are set: packs the weights for convolutions of type `compute`.
  void prepare(const Stream&, Arena&, DType compute);
  std::vector<ParamStore*> stores() const;                         // in checkpoint order: LPIPS, then perceptual
};

struct LossInput {
  Tensor render;                 // [B*Vt, H, W, 3] accum type
  Tensor target;                 // [B*Vt, H, W, 3 or 4] f32
  const GaussianBatch* gaussians = nullptr;
  Views input;                   // all views, uncropped; the first num_input_views are the inputs
  std::int64_t num_input_views = 0;
  int patch_size = 8;
};
struct LossGradient {
  Tensor render;                 // [B*Vt, H, W, 3] accum type, overwritten
  Tensor xyz;                    // [B, N, 3] accum type, added to: pixel-align and points-dist
};

// Evaluates every term of positive weight into terms [kTerms] accum type (0 for the others), and the gradient of the total
// where `gradient` is given.
void compute_losses(Ctx&, const LossConfig&, const LossNetworks&, const LossInput&, View terms, const LossGradient* gradient);

}  // namespace mfl::gslrm
