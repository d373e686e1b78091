#include <algorithm>

#include "kernels/common/dispatch.h"
#include "kernels/embed/camera_ray.h"
#include "kernels/embed/rays.h"

namespace mfl::cpu {
namespace {

template <class F>
void dispatch_camera(DType t, F&& f) {
  t == DType::f64 ? f(double{}) : f(float{});
}

}  // namespace

void tokenize(const Tokenize& a) {
  dispatch_camera(a.image.dtype, [&](auto s) {
    dispatch_float(a.tokens.dtype, [&](auto t) {
      using S = decltype(s);
      using T = decltype(t);
      const std::int64_t views = a.image.shape[1], height = a.image.shape[2], width = a.image.shape[3];
      const std::int64_t image_channels = a.image.shape[4], channels = channels_of(a.kind);
      const std::int64_t pixels = height * width;
      for (std::int64_t b = 0; b < a.image.shape[0]; ++b) {
        const S* image = a.image.as<S>() + b * a.image.stride[0];
        const S* c2w = a.c2w.as<S>() + b * a.c2w.stride[0];
        const S* k = a.fxfycxcy.as<S>() + b * a.fxfycxcy.stride[0];
        T* tokens = a.tokens.as<T>() + b * a.tokens.stride[0];
#pragma omp parallel for
        for (std::int64_t i = 0; i < views * pixels; ++i) {
          const std::int64_t v = i / pixels;
          const PixelXY at = pixel_of(i % pixels, width, a.patch);
          const auto ray = camera_ray<double>(c2w + v * 16, k + v * 4, at.x, at.y);
          const double *o = ray.origin, *d = ray.direction;
          const double along = o[0] * d[0] + o[1] * d[1] + o[2] * d[2];
          const double nearest[3] = {o[0] - along * d[0], o[1] - along * d[1], o[2] - along * d[2]};
          const double moment[3] = {o[1] * d[2] - o[2] * d[1], o[2] * d[0] - o[0] * d[2], o[0] * d[1] - o[1] * d[0]};
          const S* pixel = image + ((v * height + at.y) * width + at.x) * image_channels;
          T* out = tokens + i * channels;
          auto put = [&](const double* three) {
            for (int c = 0; c < 3; ++c) *out++ = T(three[c]);
          };
          const double rgb[3] = {2 * double(pixel[0]) - 1, 2 * double(pixel[1]) - 1, 2 * double(pixel[2]) - 1};
          put(rgb);
          if (a.kind != PosedImage::custom) put(moment);
          put(d);
          if (a.kind != PosedImage::standard) put(nearest);
        }
      }
    });
  });
}

void camera_rays(const Rays& a) {
  dispatch_camera(a.c2w.dtype, [&](auto s) {
    using S = decltype(s);
    const std::int64_t views = a.c2w.shape[1], pixels = std::int64_t{a.height} * a.width;
    for (std::int64_t b = 0; b < a.c2w.shape[0]; ++b) {
      const S* c2w = a.c2w.as<S>() + b * a.c2w.stride[0];
      const S* k = a.fxfycxcy.as<S>() + b * a.fxfycxcy.stride[0];
#pragma omp parallel for
      for (std::int64_t i = 0; i < views * pixels; ++i) {
        const std::int64_t v = i / pixels, g = i % pixels;
        const PixelXY at = a.patch == 0 ? PixelXY{g % a.width, g / a.width} : pixel_of(g, a.width, a.patch);
        const auto ray = camera_ray<double>(c2w + v * 16, k + v * 4, at.x, at.y);
        for (int c = 0; c < 3; ++c) {
          a.origin.as<S>()[(b * views * pixels + i) * 3 + c] = S(ray.origin[c]);
          a.direction.as<S>()[(b * views * pixels + i) * 3 + c] = S(ray.direction[c]);
        }
      }
    }
  });
}

}  // namespace mfl::cpu
