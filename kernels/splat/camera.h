// A pinhole camera as the splat stages use it. Host and device.
#pragma once

#include "runtime/rng.h"

namespace mfl {

template <class T>
struct SplatCamera {
  T w[9];              // rotation of world to camera, row-major
  T p[3];              // translation of world to camera
  T position[3];       // of the camera, in the world
  T fx, fy, cx, cy;    // pixels; the centre of pixel (0, 0) is at (0.5, 0.5)
  T limit_x, limit_y;  // 1.3 tan(fov/2): where the Jacobian's tx/tz and ty/tz stop
  T width, height;     // pixels
};

// c2w [4, 4] row-major, k = fx, fy, cx, cy. The inverse of the affine part, by cofactors.
template <class T>
MFL_HD SplatCamera<T> make_splat_camera(const T* c2w, const T* k, int width, int height) {
  SplatCamera<T> c;
  const T a00 = c2w[0], a01 = c2w[1], a02 = c2w[2], a10 = c2w[4], a11 = c2w[5], a12 = c2w[6], a20 = c2w[8],
          a21 = c2w[9], a22 = c2w[10];
  const T c00 = a11 * a22 - a12 * a21, c01 = a12 * a20 - a10 * a22, c02 = a10 * a21 - a11 * a20;
  const T s = T(1) / (a00 * c00 + a01 * c01 + a02 * c02);
  c.w[0] = c00 * s, c.w[1] = (a02 * a21 - a01 * a22) * s, c.w[2] = (a01 * a12 - a02 * a11) * s;
  c.w[3] = c01 * s, c.w[4] = (a00 * a22 - a02 * a20) * s, c.w[5] = (a02 * a10 - a00 * a12) * s;
  c.w[6] = c02 * s, c.w[7] = (a01 * a20 - a00 * a21) * s, c.w[8] = (a00 * a11 - a01 * a10) * s;
  for (int i = 0; i < 3; ++i) c.position[i] = c2w[4 * i + 3];
  for (int i = 0; i < 3; ++i)
    c.p[i] = -(c.w[3 * i] * c.position[0] + c.w[3 * i + 1] * c.position[1] + c.w[3 * i + 2] * c.position[2]);
  c.fx = k[0], c.fy = k[1], c.cx = k[2], c.cy = k[3];
  c.width = T(width), c.height = T(height);
  c.limit_x = T(1.3) * c.width / (2 * c.fx);
  c.limit_y = T(1.3) * c.height / (2 * c.fy);
  return c;
}

}  // namespace mfl
