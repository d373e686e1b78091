// The ray through the centre of a pixel. Scalar maths for host and device, shared by all that unprojects.
//
// OpenCV axes (x right, y down, z forward); the centre of pixel (0, 0) is at (0.5, 0.5):
//   d_cam = ((x + 0.5 - cx) / fx, (y + 0.5 - cy) / fy, 1), normalised;  d = R d_cam, normalised;  o = the camera's
//   position.
#pragma once

#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define MFL_RAY_HD __host__ __device__
#else
#define MFL_RAY_HD
#endif

namespace mfl {

template <class T>
struct CameraRay {
  T origin[3];     // world units
  T direction[3];  // unit length
};

// c2w: [4, 4] row-major camera-to-world; fxfycxcy: [4] pixels. Computed in T.
template <class T, class S>
MFL_RAY_HD inline CameraRay<T> camera_ray(const S* c2w, const S* fxfycxcy, std::int64_t x, std::int64_t y) {
  using std::fma;
  using std::sqrt;
  const T u = (T(x) + T(0.5) - T(fxfycxcy[2])) / T(fxfycxcy[0]), v = (T(y) + T(0.5) - T(fxfycxcy[3])) / T(fxfycxcy[1]);
  const T length = sqrt((u * u + T(1)) + v * v);
  const T cam[3] = {u / length, v / length, T(1) / length};
  CameraRay<T> ray;
  for (int i = 0; i < 3; ++i) {
    ray.origin[i] = T(c2w[4 * i + 3]);
    ray.direction[i] = fma(T(c2w[4 * i + 2]), cam[2], fma(T(c2w[4 * i + 1]), cam[1], T(c2w[4 * i]) * cam[0]));
  }
  const T* d = ray.direction;
  const T norm = sqrt((d[0] * d[0] + d[2] * d[2]) + d[1] * d[1]);
  for (int i = 0; i < 3; ++i) ray.direction[i] = ray.direction[i] / norm;
  return ray;
}

// Where element g of the "Gaussian order" of one view lies in its image: patch row, patch column, row in patch, column
// in patch. The order in which the transformer's tokens list their pixels.
struct PixelXY {
  std::int64_t x, y;
};
MFL_RAY_HD inline PixelXY pixel_of(std::int64_t g, std::int64_t width, std::int64_t patch) {
  const std::int64_t inside = g % (patch * patch), token = g / (patch * patch), columns = width / patch;
  return {token % columns * patch + inside % patch, token / columns * patch + inside / patch};
}

}  // namespace mfl
