// Constants and the depth rule of the Gaussian decode, shared by oracle and kernel.
#pragma once

#include <cmath>

#include "kernels/embed/camera_ray.h"
#include "kernels/gaussian/decode.h"

namespace mfl {

inline constexpr double kScaleShift = -2.3, kScaleMax = -1.2, kOpacityShift = -2.0;

// t and dt/ds at s.
template <class T>
struct Depth {
  T t, slope;
};
template <class T>
MFL_RAY_HD inline Depth<T> depth_of(DepthRule rule, T depth_min, T depth_max, T s, const CameraRay<T>& ray) {
  using std::sqrt;
  const T *o = ray.origin, *d = ray.direction;
  switch (rule) {
    case DepthRule::nearest:
      return {(2 * s - 1) * T(1.8) - (o[0] * d[0] + o[1] * d[1] + o[2] * d[2]), T(3.6)};
    case DepthRule::range:
      return {depth_min + s * (depth_max - depth_min), depth_max - depth_min};
    case DepthRule::reference_origin:
      return {(2 * s - 1) * T(1.8) + sqrt(o[0] * o[0] + o[1] * o[1] + o[2] * o[2]), T(3.6)};
    case DepthRule::fixed:
      break;
  }
  return {(2 * s - 1) * T(1.5) + T(2.7), T(3)};
}

}  // namespace mfl
