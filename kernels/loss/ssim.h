// loss = 1 - mean SSIM.                                                    Wang et al. 2004; pytorch-msssim `ssim`
//
//   With w the 11-tap Gaussian of sigma 1.5 (separable, normalised), valid convolution, per channel:
//     mx = w*x, my = w*y, vx = w*x^2 - mx^2, vy = w*y^2 - my^2, vxy = w*xy - mx my               (biased variances)
//     ssim = (2 mx my + C1)(2 vxy + C2) / ((mx^2 + my^2 + C1)(vx + vy + C2)),  C1 = 0.01^2, C2 = 0.03^2 (data range 1)
//   and the mean is over positions, channels and images. The variances cancel: everything is f32 or wider.
//   `masked`: pixels with alpha <= 0.5 are 0.5 in both images. `clamp`: the mean is clamped to [0, 1], with no gradient
//   outside.
#pragma once

#include "runtime/context.h"

namespace mfl {

inline constexpr int kSsimTaps = 11;
inline constexpr double kSsimSigma = 1.5, kSsimC1 = 0.01 * 0.01, kSsimC2 = 0.03 * 0.03;

struct SsimFwd {
  ConstView render;        // [M, H, W, 3]       f64 | f32; H and W at least 11
  ConstView target;        // [M, H, W, 3 or 4]  f32; the fourth channel is alpha, which `masked` needs
  bool masked = false, clamp = false;
  View loss;               // [1]  out, dtype of render
  View ssim;               // [1]  out, dtype of render: the mean before the clamp, kept for backward
  View maps = {};          // [3, M, H-10, W-10, 3]  out, dtype of render: dssim/dmx at fixed w*x^2 and w*xy, dssim/d(w*x^2),
                           // dssim/d(w*xy), kept for backward; not given: not kept
  View scratch = {};       // [ssim_scratch(M, H, W)] f32, CUDA only
};
void ssim_fwd(const Stream&, const SsimFwd&);

// drender (mode) weight * dloss/drender.
struct SsimBwd {
  ConstView render, target;
  bool masked = false, clamp = false;
  ConstView ssim, maps;
  double weight = 1;       // the loss's weight in the total
  View drender;            // [M, H, W, 3]
  GradMode drender_mode = GradMode::accumulate;   // all image losses add into one buffer
};
void ssim_bwd(const Stream&, const SsimBwd&);
std::int64_t ssim_scratch(std::int64_t images, std::int64_t height, std::int64_t width);

namespace cpu {
void ssim_fwd(const SsimFwd&);
void ssim_bwd(const SsimBwd&);
}  // namespace cpu
namespace cuda {
void ssim_fwd(const Stream&, const SsimFwd&);
void ssim_bwd(const Stream&, const SsimBwd&);
}  // namespace cuda

}  // namespace mfl
