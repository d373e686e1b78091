#include <cmath>

#include "kernels/common/dispatch.h"
#include "kernels/common/grad_write.h"
#include "kernels/gaussian/decode_math.h"

namespace mfl::cpu {
namespace {

// f(value of the compute type, of the accum type, of the camera's type)
template <class F>
void dispatch_types(DType compute, DType camera, F&& f) {
  dispatch_float(compute, [&](auto t) {
    using A = std::conditional_t<std::is_same_v<decltype(t), double>, double, float>;
    camera == DType::f64 ? f(t, A{}, double{}) : f(t, A{}, float{});
  });
}

// The ray of pixel Gaussian i (of all views) of batch item b, computed in R.
template <class R, class S, class Args>
CameraRay<R> ray_of(const Args& a, std::int64_t b, std::int64_t i) {
  const std::int64_t pixels = std::int64_t{a.height} * a.width, v = i / pixels;
  const PixelXY at = pixel_of(i % pixels, a.width, a.config.patch);
  return camera_ray<R>(a.c2w.template as<S>() + b * a.c2w.stride[0] + v * 16,
                            a.fxfycxcy.template as<S>() + b * a.fxfycxcy.stride[0] + v * 4, at.x, at.y);
}

// The position of a pixel Gaussian is computed in the accum type A, every operation rounded, and not in f64: the
// pixel-align loss differentiates the rounding of o + t d (align_loss.h), so its gradient is only the published one when
// the rounding is.
template <class A, class T>
A sigmoid_of_mean(const T* raw, double bias) {
  return 1 / (1 + std::exp(-((A(raw[0]) + A(raw[1]) + A(raw[2])) * (A(1) / A(3)) + A(bias))));
}

}  // namespace

void decode_fwd(const DecodeFwd& a) {
  dispatch_types(a.pixel.dtype, a.c2w.dtype, [&](auto t, auto u, auto v) {
    using T = decltype(t);
    using A = decltype(u);
    using S = decltype(v);
    const std::int64_t batch = a.xyz.shape[0], n = a.xyz.shape[1], n_free = a.free ? a.free.shape[1] : 0;
    const std::int64_t channels = a.config.channels(), k3 = 3 * a.config.coefficients();
    for (std::int64_t b = 0; b < batch; ++b) {
#pragma omp parallel for
      for (std::int64_t g = 0; g < n; ++g) {
        const bool free = g < n_free;
        const T* raw = free ? a.free.as<T>() + (b * n_free + g) * channels
                            : a.pixel.as<T>() + (b * (n - n_free) + g - n_free) * channels;
        const std::int64_t i = b * n + g;
        A* xyz = a.xyz.as<A>() + i * 3;
        if (free || !a.config.pixel_align) {
          for (int c = 0; c < 3; ++c) xyz[c] = A(double(raw[c]));
        } else {
          const auto ray = ray_of<A, S>(a, b, g - n_free);
          const A s = sigmoid_of_mean<A>(raw, a.config.depth_bias);
          const A depth = depth_of(a.config.depth, A(a.config.depth_min), A(a.config.depth_max), s, ray).t;
          for (int c = 0; c < 3; ++c) xyz[c] = A(ray.origin[c] + depth * ray.direction[c]);
        }
        for (std::int64_t c = 0; c < k3; ++c) a.features.as<A>()[i * k3 + c] = A(double(raw[3 + c]));
        for (int c = 0; c < 3; ++c)
          a.scaling.as<A>()[i * 3 + c] = A(std::min(double(raw[3 + k3 + c]) + kScaleShift, kScaleMax));
        for (int c = 0; c < 4; ++c) a.rotation.as<A>()[i * 4 + c] = A(double(raw[6 + k3 + c]));
        a.opacity.as<A>()[i] = A(double(raw[10 + k3]) + kOpacityShift);
      }
    }
  });
}

void decode_bwd(const DecodeBwd& a) {
  dispatch_types(a.pixel.dtype, a.c2w.dtype, [&](auto t, auto u, auto v) {
    using T = decltype(t);
    using A = decltype(u);
    using S = decltype(v);
    const std::int64_t batch = a.dxyz.shape[0], n = a.dxyz.shape[1], n_free = a.free ? a.free.shape[1] : 0;
    const std::int64_t channels = a.config.channels(), k3 = 3 * a.config.coefficients();
    for (std::int64_t b = 0; b < batch; ++b) {
#pragma omp parallel for
      for (std::int64_t g = 0; g < n; ++g) {
        const bool free = g < n_free;
        const std::int64_t at = free ? (b * n_free + g) * channels : (b * (n - n_free) + g - n_free) * channels;
        const T* raw = (free ? a.free : a.pixel).template as<T>() + at;
        T* draw = (free ? a.dfree : a.dpixel).template as<T>() + at;
        const std::int64_t i = b * n + g;
        const A* dxyz = a.dxyz.as<A>() + i * 3;
        if (free || !a.config.pixel_align) {
          for (int c = 0; c < 3; ++c) grad_write(draw[c], double(dxyz[c]), a.mode);
        } else {
          const auto ray = ray_of<A, S>(a, b, g - n_free);
          const A sigmoid = sigmoid_of_mean<A>(raw, a.config.depth_bias);
          const double s = sigmoid,
                       slope = depth_of(a.config.depth, A(a.config.depth_min), A(a.config.depth_max), sigmoid, ray).slope;
          double dt = 0;
          for (int c = 0; c < 3; ++c) dt += double(dxyz[c]) * ray.direction[c];
          for (int c = 0; c < 3; ++c) grad_write(draw[c], dt * slope * s * (1 - s) / 3, a.mode);
        }
        for (std::int64_t c = 0; c < k3; ++c) grad_write(draw[3 + c], double(a.dfeatures.as<A>()[i * k3 + c]), a.mode);
        for (int c = 0; c < 3; ++c) {
          const bool bound = double(raw[3 + k3 + c]) + kScaleShift > kScaleMax;
          grad_write(draw[3 + k3 + c], bound ? 0.0 : double(a.dscaling.as<A>()[i * 3 + c]), a.mode);
        }
        for (int c = 0; c < 4; ++c) grad_write(draw[6 + k3 + c], double(a.drotation.as<A>()[i * 4 + c]), a.mode);
        grad_write(draw[10 + k3], double(a.dopacity.as<A>()[i]), a.mode);
      }
    }
  });
}

}  // namespace mfl::cpu
