// From posed images to the transformer's input tokens, and the rays of all pixels.                       GS-LRM, TransformInput
//
//   Rays as in camera_ray.h, in f32 (f64 if the cameras are f64) whatever the compute type is. The published trainer
//   rounds ray directions to 16 bits under autocast, which moves them by up to 0.3 degrees in bf16; we do not.
//   No gradients: cameras and images are data.
//   The first axis of image, c2w and fxfycxcy may be strided (the first V of more views); the rest is contiguous.
#pragma once

#include "runtime/context.h"

namespace mfl {

// Channels of a pixel, in this order; o: ray origin, d: direction, q = o - (o.d) d: the ray's point nearest to the
// world origin; rgb is mapped to 2x - 1.
enum class PosedImage : std::uint8_t {
  custom,     // rgb, d, q           9 channels   model.use_custom_plucker: every published configuration
  augmented,  // rgb, o x d, d, q   12 channels   model.use_aug_plucker
  standard,   // rgb, o x d, d       9 channels   neither
};
constexpr std::int64_t channels_of(PosedImage kind) { return kind == PosedImage::augmented ? 12 : 9; }

// tokens[b, (v, patch row, patch column), (row * p + column) * C + channel]
struct Tokenize {
  ConstView image;     // [B, V, H, W, Ci]  f32 | f64, in [0, 1]; Ci >= 3, channels beyond the third are not read
  ConstView c2w;       // [B, V, 4, 4]      dtype of image
  ConstView fxfycxcy;  // [B, V, 4]         dtype of image; pixels
  PosedImage kind = PosedImage::custom;
  int patch = 8;  // p; divides H and W
  View tokens;    // [B, V * H/p * W/p, p * p * C]  out; f64 | f32 | bf16
};
void tokenize(const Stream&, const Tokenize&);

struct Rays {
  ConstView c2w;       // [B, V, 4, 4]  f32 | f64
  ConstView fxfycxcy;  // [B, V, 4]     the same dtype; pixels
  int height = 0, width = 0;
  int patch = 0;   // 0: raster order; else the Gaussian order of this patch size (pixel_of in camera_ray.h)
  View origin;     // [B, V, H * W, 3]  out; dtype of c2w
  View direction;  // [B, V, H * W, 3]  out
};
void camera_rays(const Stream&, const Rays&);

namespace cpu {
void tokenize(const Tokenize&);
void camera_rays(const Rays&);
}  // namespace cpu
namespace cuda {
void tokenize(const Stream&, const Tokenize&);
void camera_rays(const Stream&, const Rays&);
}  // namespace cuda

}  // namespace mfl
