// The animal-aware crop: what lies outside the animal's outline in the pictures that the scene was made of is no animal.
//
//   A Gaussian is seen by a view whose picture its centre projects into. It is kept if its centre lies in the outline, widened by
//   `dilation` pixels, in at least ceil(share * n) of the n views that see it; n = 0: dropped.
//
// Unlike the box of Filters, this knows where the animal is; what it cannot know is depth: what floats in front of the animal in
// every view stays.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "models/gslrm/gaussians.h"

namespace mfl::gslrm {

// Outlines of pictures [V, H, W, 3 or 4] (host, f32 in [0, 1]): 1 where alpha > 0.5, or, without alpha, where the mean over RGB
// of |picture - background| is above the threshold. [V, H, W] u8, host.
Tensor silhouettes(const Tensor& pictures, const std::array<double, 3>& background, double threshold = 0.1);

struct SilhouetteCrop {
  double share = 0.75;  // in (0, 1]: of the views that see a Gaussian; 1: all of them, the visual hull
  int dilation = 4;     // pixels, in x and y
};

struct SilhouetteCounts {
  std::int64_t before = 0, kept = 0;
  std::int64_t unseen = 0;              // dropped since no view sees them
  std::vector<std::int64_t> outside;    // [V] seen by the view, and outside its outline
};

// 1 for every Gaussian that is kept, [N], for select(). Host tensors; outlines [V, H, W] u8 of the cameras' size.
std::vector<std::uint8_t> inside_silhouettes(const Gaussians&, const Cameras&, const Tensor& outlines,
                                             const SilhouetteCrop& = {}, SilhouetteCounts* = nullptr);

}  // namespace mfl::gslrm
