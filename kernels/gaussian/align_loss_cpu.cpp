#include <cmath>

#include "kernels/common/grad_write.h"
#include "kernels/embed/camera_ray.h"
#include "kernels/gaussian/align_loss.h"

namespace mfl::cpu {
namespace {

// f(value of the points' type, of the cameras' type)
template <class F>
void dispatch(DType points, DType cameras, F&& f) {
  auto inner = [&](auto t) { cameras == DType::f64 ? f(t, double{}) : f(t, float{}); };
  points == DType::f64 ? inner(double{}) : inner(float{});
}

// One pixel Gaussian: its ray, and its position relative to the camera; in the type of the points, every operation
// rounded, because pixel_align is about nothing but that rounding (see its header).
template <class R>
struct Point {
  CameraRay<R> ray;
  R e[3], length;
  std::int64_t x, y;
};
template <class T, class S>
Point<T> point_of(const ConstView& xyz, const PixelGrid& g, std::int64_t b, std::int64_t i) {
  const std::int64_t pixels = std::int64_t{g.height} * g.width, v = i / pixels;
  const PixelXY at = pixel_of(i % pixels, g.width, g.patch);
  Point<T> p;
  p.ray = camera_ray<T>(g.c2w.as<S>() + b * g.c2w.stride[0] + v * 16,
                             g.fxfycxcy.as<S>() + b * g.fxfycxcy.stride[0] + v * 4, at.x, at.y);
  T square = 0;
  for (int c = 0; c < 3; ++c) {
    p.e[c] = xyz.as<T>()[b * xyz.stride[0] + i * 3 + c] - p.ray.origin[c];
    square += p.e[c] * p.e[c];
  }
  p.length = std::sqrt(square);
  p.x = at.x, p.y = at.y;
  return p;
}

template <class R>
double alpha_of(const ConstView& target, const PixelGrid& g, std::int64_t b, std::int64_t v, const Point<R>& p) {
  return target ? double(target.as<float>()[b * target.stride[0] + ((v * g.height + p.y) * g.width + p.x) * 4 + 3])
                : 1.0;
}

// r = e - (e.d) d; returns |r|.
template <class R>
R off_ray(const Point<R>& p, R (&r)[3]) {
  const R *e = p.e, *d = p.ray.direction;
  const R along = (e[0] * d[0] + e[2] * d[2]) + e[1] * d[1];   // the published order of a sum over three neighbours
  R square = 0;
  for (int c = 0; c < 3; ++c) {
    r[c] = p.e[c] - along * p.ray.direction[c];
    square += r[c] * r[c];
  }
  return std::sqrt(square);
}

template <class R>
double goal_of(const Point<R>& p, double mean, double deviation) {
  const R* o = p.ray.origin;
  return (p.length - mean) / (deviation + 1e-8) * 0.5 + std::sqrt(o[0] * o[0] + o[1] * o[1] + o[2] * o[2]);
}

}  // namespace

void pixel_align_fwd(const PixelAlignFwd& a) {
  dispatch(a.xyz.dtype, a.grid.c2w.dtype, [&](auto t, auto u) {
    using T = decltype(t);
    using S = decltype(u);
    const std::int64_t batch = a.xyz.shape[0], n = a.xyz.shape[1], pixels = std::int64_t{a.grid.height} * a.grid.width;
    double sum = 0;
    T r[3];
    for (std::int64_t b = 0; b < batch; ++b)
      for (std::int64_t i = 0; i < n; ++i) {
        const Point<T> p = point_of<T, S>(a.xyz, a.grid, b, i);
        sum += alpha_of(a.target, a.grid, b, i / pixels, p) * off_ray(p, r);
      }
    a.loss.as<T>()[0] = T(sum / double(batch * n));
  });
}

void pixel_align_bwd(const PixelAlignBwd& a) {
  dispatch(a.xyz.dtype, a.grid.c2w.dtype, [&](auto t, auto u) {
    using T = decltype(t);
    using S = decltype(u);
    const std::int64_t batch = a.xyz.shape[0], n = a.xyz.shape[1], pixels = std::int64_t{a.grid.height} * a.grid.width;
    for (std::int64_t b = 0; b < batch; ++b)
#pragma omp parallel for
      for (std::int64_t i = 0; i < n; ++i) {
        const Point<T> p = point_of<T, S>(a.xyz, a.grid, b, i);
        T r[3];
        const double length = off_ray(p, r),
                     scale = a.weight * alpha_of(a.target, a.grid, b, i / pixels, p) / double(batch * n);
        for (int c = 0; c < 3; ++c)
          grad_write(a.dxyz.as<T>()[b * a.dxyz.stride[0] + i * 3 + c], length > 0 ? scale * double(r[c]) / length : 0.0,
                     a.dxyz_mode);
      }
  });
}

void points_dist_fwd(const PointsDistFwd& a) {
  dispatch(a.xyz.dtype, a.grid.c2w.dtype, [&](auto t, auto u) {
    using T = decltype(t);
    using S = decltype(u);
    const std::int64_t batch = a.xyz.shape[0], n = a.xyz.shape[1], pixels = std::int64_t{a.grid.height} * a.grid.width;
    double loss = 0;
    for (std::int64_t b = 0; b < batch; ++b)
      for (std::int64_t v = 0; v < n / pixels; ++v) {
        auto point = [&](std::int64_t g) { return point_of<T, S>(a.xyz, a.grid, b, v * pixels + g); };
        double mean = 0, variance = 0;
        for (std::int64_t g = 0; g < pixels; ++g) mean += point(g).length;
        mean /= double(pixels);
        for (std::int64_t g = 0; g < pixels; ++g) variance += std::pow(point(g).length - mean, 2);
        const double deviation = std::sqrt(variance / double(pixels - 1));
        for (std::int64_t g = 0; g < pixels; ++g) {
          const Point<T> p = point(g);
          loss += std::pow(p.length - goal_of(p, mean, deviation), 2);
        }
        T* stats = a.stats.as<T>() + (b * (n / pixels) + v) * 2;
        stats[0] = T(mean), stats[1] = T(deviation);
      }
    a.loss.as<T>()[0] = T(loss / double(batch * n));
  });
}

void points_dist_bwd(const PointsDistBwd& a) {
  dispatch(a.xyz.dtype, a.grid.c2w.dtype, [&](auto t, auto u) {
    using T = decltype(t);
    using S = decltype(u);
    const std::int64_t batch = a.xyz.shape[0], n = a.xyz.shape[1], pixels = std::int64_t{a.grid.height} * a.grid.width;
    for (std::int64_t b = 0; b < batch; ++b)
#pragma omp parallel for
      for (std::int64_t i = 0; i < n; ++i) {
        const Point<T> p = point_of<T, S>(a.xyz, a.grid, b, i);
        const T* stats = a.stats.as<T>() + (b * (n / pixels) + i / pixels) * 2;
        const double d = a.weight * 2 * (p.length - goal_of(p, double(stats[0]), double(stats[1]))) / double(batch * n);
        for (int c = 0; c < 3; ++c)
          grad_write(a.dxyz.as<T>()[b * a.dxyz.stride[0] + i * 3 + c], p.length > 0 ? d * double(p.e[c]) / double(p.length) : 0.0,
                     a.dxyz_mode);
      }
  });
}

}  // namespace mfl::cpu
