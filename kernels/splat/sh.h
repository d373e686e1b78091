// Real spherical harmonics of degree 0 to 3, with the signs of 3D Gaussian splatting:
//   sum_k coefficient_k Y_k(direction).    Host and device.
#pragma once

#include "runtime/rng.h"

namespace mfl {

MFL_HD constexpr int sh_coefficients(int degree) { return (degree + 1) * (degree + 1); }

// Y_k at a unit direction, and, if asked for, its derivative by x, y and z taken as independent.
template <int kDegree, bool kDerivative, class T>
MFL_HD void sh_basis(const T* d, T* y, T (*dy)[3]) {
  const T x = d[0], yy = d[1], z = d[2];
  auto set = [&](int k, T value, T by_x, T by_y, T by_z) {
    y[k] = value;
    if constexpr (kDerivative) dy[k][0] = by_x, dy[k][1] = by_y, dy[k][2] = by_z;
  };
  set(0, T(0.28209479177387814), T(0), T(0), T(0));
  if constexpr (kDegree > 0) {
    const T c = T(0.4886025119029199);
    set(1, -c * yy, T(0), -c, T(0));
    set(2, c * z, T(0), T(0), c);
    set(3, -c * x, -c, T(0), T(0));
  }
  if constexpr (kDegree > 1) {
    const T a = T(1.0925484305920792), b = T(0.31539156525252005), c = T(0.5462742152960396);
    set(4, a * x * yy, a * yy, a * x, T(0));
    set(5, -a * yy * z, T(0), -a * z, -a * yy);
    set(6, b * (2 * z * z - x * x - yy * yy), -2 * b * x, -2 * b * yy, 4 * b * z);
    set(7, -a * x * z, -a * z, T(0), -a * x);
    set(8, c * (x * x - yy * yy), 2 * c * x, -2 * c * yy, T(0));
  }
  if constexpr (kDegree > 2) {
    const T a = T(0.5900435899266435), b = T(2.890611442640554), c = T(0.4570457994644658), e = T(0.3731763325901154),
            f = T(1.445305721320277);
    const T xx = x * x, y2 = yy * yy, zz = z * z;
    set(9, -a * yy * (3 * xx - y2), -6 * a * x * yy, -3 * a * (xx - y2), T(0));
    set(10, b * x * yy * z, b * yy * z, b * x * z, b * x * yy);
    set(11, -c * yy * (4 * zz - xx - y2), 2 * c * x * yy, -c * (4 * zz - xx - 3 * y2), -8 * c * yy * z);
    set(12, e * z * (2 * zz - 3 * xx - 3 * y2), -6 * e * x * z, -6 * e * yy * z, e * (6 * zz - 3 * xx - 3 * y2));
    set(13, -c * x * (4 * zz - xx - y2), -c * (4 * zz - 3 * xx - y2), 2 * c * x * yy, -8 * c * x * z);
    set(14, f * z * (xx - y2), 2 * f * x * z, -2 * f * yy * z, f * (xx - y2));
    set(15, -a * x * (xx - 3 * y2), -3 * a * (xx - y2), 6 * a * x * yy, T(0));
  }
}

}  // namespace mfl
