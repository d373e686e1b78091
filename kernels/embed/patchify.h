// Between an image and its patches: patches[n, (patch row, patch column), (row * p + column) * C + channel]
//   = image[n, patch row * p + row, patch column * p + column, channel].
//   einops: "(hh ph) (ww pw) c -> (hh ww) (ph pw c)"
//
//   The patches' order of pixels is the Gaussian order (pixel_of in camera_ray.h). Each op is the other's backward.
//   Types: f64, f32 and bf16 in any combination (f32 and bf16 on CUDA).
#pragma once

#include "runtime/context.h"

namespace mfl {

struct Patchify {
  ConstView image;                      // [N, H, W, C]
  int patch = 8;                        // p; divides H and W
  View patches;                         // [N, H/p * W/p, p * p * C]; out
  GradMode mode = GradMode::overwrite;  // accumulate: patches += ..., as the gradient of unpatchify
};
void patchify(const Stream&, const Patchify&);

struct Unpatchify {
  ConstView patches;  // [N, H/p * W/p, p * p * C]
  int patch = 8;
  View image;  // [N, H, W, C]; out
  GradMode mode = GradMode::overwrite;
};
void unpatchify(const Stream&, const Unpatchify&);

namespace cpu {
void patchify(const Patchify&);
void unpatchify(const Unpatchify&);
}  // namespace cpu
namespace cuda {
void patchify(const Stream&, const Patchify&);
void unpatchify(const Stream&, const Unpatchify&);
}  // namespace cuda

}  // namespace mfl
