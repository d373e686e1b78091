#include "kernels/common/dispatch.h"
#include "kernels/common/grad_write.h"
#include "kernels/embed/camera_ray.h"
#include "kernels/embed/patchify.h"

namespace mfl::cpu {
namespace {

// f(offset in the image, offset in the patches) for the C channels of every pixel.
template <class F>
void for_each_pixel(const Shape& image, int patch, F&& f) {
  const std::int64_t height = image[1], width = image[2], channels = image[3], pixels = height * width;
#pragma omp parallel for
  for (std::int64_t i = 0; i < image[0] * pixels; ++i) {
    const PixelXY at = pixel_of(i % pixels, width, patch);
    f(((i / pixels * height + at.y) * width + at.x) * channels, i * channels);
  }
}

}  // namespace

void patchify(const Patchify& a) {
  dispatch_float(a.image.dtype, [&](auto from) {
    dispatch_float(a.patches.dtype, [&](auto to) {
      const auto* image = a.image.as<decltype(from)>();
      auto* patches = a.patches.as<decltype(to)>();
      const std::int64_t channels = a.image.shape[3];
      for_each_pixel(a.image.shape, a.patch, [&](std::int64_t i, std::int64_t p) {
        for (std::int64_t c = 0; c < channels; ++c) grad_write(patches[p + c], double(image[i + c]), a.mode);
      });
    });
  });
}

void unpatchify(const Unpatchify& a) {
  dispatch_float(a.patches.dtype, [&](auto from) {
    dispatch_float(a.image.dtype, [&](auto to) {
      const auto* patches = a.patches.as<decltype(from)>();
      auto* image = a.image.as<decltype(to)>();
      const std::int64_t channels = a.image.shape[3];
      for_each_pixel(a.image.shape, a.patch, [&](std::int64_t i, std::int64_t p) {
        for (std::int64_t c = 0; c < channels; ++c) grad_write(image[i + c], double(patches[p + c]), a.mode);
      });
    });
  });
}

}  // namespace mfl::cpu
