// y = image * scale + offset, per colour channel: what a perceptual network expects of its input. Alpha is dropped.
#pragma once

#include <array>

#include "runtime/context.h"

namespace mfl {

struct NormalizeImageFwd {
  ConstView image;         // [N, H, W, 3 or 4]  f64 | f32
  std::array<double, 3> scale{1, 1, 1}, offset{0, 0, 0};
  View y;                  // [N, H, W, 3]  out, f64 | f32 | bf16
};
void normalize_image_fwd(const Stream&, const NormalizeImageFwd&);

// dimage (mode) scale * dy.
struct NormalizeImageBwd {
  ConstView dy;            // [N, H, W, 3]  f64 | f32 | bf16
  std::array<double, 3> scale{1, 1, 1};
  View dimage;             // [N, H, W, 3]  f64 | f32
  GradMode dimage_mode = GradMode::accumulate;    // all image losses add into one buffer
};
void normalize_image_bwd(const Stream&, const NormalizeImageBwd&);

namespace cpu {
void normalize_image_fwd(const NormalizeImageFwd&);
void normalize_image_bwd(const NormalizeImageBwd&);
}  // namespace cpu
namespace cuda {
void normalize_image_fwd(const Stream&, const NormalizeImageFwd&);
void normalize_image_bwd(const Stream&, const NormalizeImageBwd&);
}  // namespace cuda

}  // namespace mfl
