// Mean squared error of rendered images over a set of pixels S:
//   loss = sum_{p in S} sum_{RGB} (render - target)^2 / (3 max(|S|, 1))                        gslrm/model/utils_losses.py
//
//   S is every pixel (L2), the foreground (masked L2: alpha > 0.5) or the background (background term: alpha < 0.5). |S| is
//   pooled over all M images. The sums have a fixed order.
#pragma once

#include <array>

#include "runtime/context.h"

namespace mfl {

enum class PixelSet : std::uint8_t { all, foreground, background };

struct MseFwd {
  ConstView render;        // [M, H, W, 3]       f64 | f32
  ConstView target;        // [M, H, W, 3 or 4]  f32; the fourth channel is alpha, which foreground and background need
  PixelSet pixels = PixelSet::all;
  const std::array<double, 3>* colour = nullptr;  // given: stands for the target's RGB everywhere
  View loss;               // [1]  out, dtype of render
  View count;              // [1]  out, dtype of render: |S|, kept for backward
  View scratch = {};       // [mse_scratch(M * H * W)] f32, CUDA only
};
void mse_fwd(const Stream&, const MseFwd&);

// drender (mode) weight * dloss/drender.
struct MseBwd {
  ConstView render, target;
  PixelSet pixels = PixelSet::all;
  const std::array<double, 3>* colour = nullptr;
  ConstView count;         // [1]
  double weight = 1;       // the loss's weight in the total
  View drender;            // [M, H, W, 3]
  GradMode drender_mode = GradMode::accumulate;   // all image losses add into one buffer
};
void mse_bwd(const Stream&, const MseBwd&);
std::int64_t mse_scratch(std::int64_t pixels);

namespace cpu {
void mse_fwd(const MseFwd&);
void mse_bwd(const MseBwd&);
}  // namespace cpu
namespace cuda {
void mse_fwd(const Stream&, const MseFwd&);
void mse_bwd(const Stream&, const MseBwd&);
}  // namespace cuda

}  // namespace mfl
