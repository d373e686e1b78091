// What validation reports about rendered views, on host tensors.                     reference/gslrm.md 6.9, 8.8
//
//   render [V, H, W, 3] f32, not clipped; target [V, H, W, 3 or 4] f32 in [0, 1], the fourth channel alpha. Foreground is
//   alpha > 0.5. All sums are f64.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "models/perceptual/lpips.h"
#include "runtime/tensor.h"

namespace mfl {

// Of one view, over RGB, both images clipped to [0, 1]: -10 log10(mean squared error). Infinite for equal images.
double psnr(const Tensor& render, const Tensor& target, std::int64_t view);

// The same over the foreground only. Nothing without alpha or without a foreground pixel.
std::optional<double> foreground_psnr(const Tensor& render, const Tensor& target, std::int64_t view);

// Of one view: scikit-image's structural_similarity(gaussian_weights=True, sigma=1.5, data_range=1): 11 taps, sample
// covariance (121/120), K = (0.01, 0.03), the mean over positions 5 pixels inside the border and over channels. (Its
// reflected border never reaches that mean.) Another formula than the loss (kernels/loss/ssim.h): that one has biased
// variances. H and W at least 11.
double metric_ssim(const Tensor& render, const Tensor& target, std::int64_t view);

// LPIPS of each view; device tensors, render in the accumulation type of the network's precision. Waits for the stream.
std::vector<double> lpips_per_view(Ctx&, const perceptual::LpipsLoss&, const Tensor& render, const Tensor& target);

// Pixels that the model has painted: mean over RGB of |render - background| > threshold.
inline constexpr double kMaskThreshold = 0.1;
struct MaskScore {
  double iou = 0;        // painted against foreground, all views pooled; 0 without alpha
  double coverage = 0;   // painted pixels / all pixels
  double expected = 0;   // foreground pixels / all pixels; 0 without alpha
  // Nothing was painted although something should have been: a failed validation, whatever its PSNR.
  bool empty_render() const { return coverage == 0 && expected != 0; }
};
MaskScore mask_score(const Tensor& render, const Tensor& target, const std::array<double, 3>& background,
                     double threshold = kMaskThreshold);

// All of the above but LPIPS for every view of one item.
struct ViewScores {
  std::vector<double> psnr, ssim;         // [V]
  std::vector<double> foreground_psnr;    // of the views that have a foreground
  MaskScore mask;
};
ViewScores score_views(const Tensor& render, const Tensor& target, const std::array<double, 3>& background,
                       double threshold = kMaskThreshold);

// NaN when there is nothing to average.
double mean(const std::vector<double>&);
// Of views' decibels, each at most 100: a view that is right to the last bit, such as an empty one on white, has an infinite PSNR,
// and one of them would be the mean of all.
double mean_decibels(std::vector<double> views);

}  // namespace mfl
