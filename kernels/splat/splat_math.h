// One Gaussian to one camera's splat, and back. The formulas of project.h, once for the oracle (f64, f32) and the
// kernel.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/splat/camera.h"
#include "kernels/splat/rasterize.h"
#include "kernels/splat/sh.h"

namespace mfl {

inline constexpr double kSplatNear = 0.2;      // view depth at or below which a Gaussian is not seen
inline constexpr double kSplatDilation = 0.3;  // pixels^2, added to both variances

// A Gaussian after activation.
template <class T>
struct ActiveGaussian {
  T x[3];
  T scale[3];      // m exp(scaling)
  T q[4], length;  // unit quaternion w, x, y, z; the length it had, at least 1e-12
  T rotation[9];   // R(q), row-major
  T opacity;
  T cov[6];  // R diag(s^2) R^T: xx, xy, xz, yy, yz, zz
};

template <class T>
MFL_HD ActiveGaussian<T> activate(const T* xyz, const T* scaling, const T* rotation, T opacity, T modifier) {
  ActiveGaussian<T> g;
  T square = 0;
  for (int i = 0; i < 4; ++i) square += rotation[i] * rotation[i];
  g.length = std::sqrt(square);
  if (!(g.length > T(1e-12))) g.length = T(1e-12);
  for (int i = 0; i < 4; ++i) g.q[i] = rotation[i] / g.length;
  for (int i = 0; i < 3; ++i) g.x[i] = xyz[i], g.scale[i] = modifier * std::exp(scaling[i]);
  const T w = g.q[0], x = g.q[1], y = g.q[2], z = g.q[3];
  T* r = g.rotation;
  r[0] = 1 - 2 * (y * y + z * z), r[1] = 2 * (x * y - w * z), r[2] = 2 * (x * z + w * y);
  r[3] = 2 * (x * y + w * z), r[4] = 1 - 2 * (x * x + z * z), r[5] = 2 * (y * z - w * x);
  r[6] = 2 * (x * z - w * y), r[7] = 2 * (y * z + w * x), r[8] = 1 - 2 * (x * x + y * y);
  T l[9];
  for (int i = 0; i < 3; ++i)
    for (int k = 0; k < 3; ++k) l[3 * i + k] = r[3 * i + k] * g.scale[k];
  auto dot = [&](int i, int j) {
    return l[3 * i] * l[3 * j] + l[3 * i + 1] * l[3 * j + 1] + l[3 * i + 2] * l[3 * j + 2];
  };
  g.cov[0] = dot(0, 0), g.cov[1] = dot(0, 1), g.cov[2] = dot(0, 2);
  g.cov[3] = dot(1, 1), g.cov[4] = dot(1, 2), g.cov[5] = dot(2, 2);
  g.opacity = T(1) / (T(1) + std::exp(-opacity));
  return g;
}

// What both directions need of a Gaussian in front of a camera.
template <class T>
struct ViewGaussian {
  T t[3];    // in camera axes
  T tx, ty;  // clamped for the Jacobian
  bool inside_x, inside_y;
  T m[6];          // J W, [2, 3]
  T a, b, c, det;  // Sigma, dilated: [[a, b], [b, c]]
};

// False: at or behind the near plane, or a singular Sigma.
template <class T>
MFL_HD bool see(const ActiveGaussian<T>& g, const SplatCamera<T>& k, ViewGaussian<T>& v) {
  for (int i = 0; i < 3; ++i) v.t[i] = k.w[3 * i] * g.x[0] + k.w[3 * i + 1] * g.x[1] + k.w[3 * i + 2] * g.x[2] + k.p[i];
  const T z = v.t[2];
  if (!(z > T(kSplatNear))) return false;
  const T rx = v.t[0] / z, ry = v.t[1] / z;
  v.inside_x = rx >= -k.limit_x && rx <= k.limit_x;
  v.inside_y = ry >= -k.limit_y && ry <= k.limit_y;
  v.tx = v.inside_x ? v.t[0] : (rx < 0 ? -k.limit_x : k.limit_x) * z;
  v.ty = v.inside_y ? v.t[1] : (ry < 0 ? -k.limit_y : k.limit_y) * z;
  const T jx = k.fx / z, jy = k.fy / z, jxz = -k.fx * v.tx / (z * z), jyz = -k.fy * v.ty / (z * z);
  for (int i = 0; i < 3; ++i) v.m[i] = jx * k.w[i] + jxz * k.w[6 + i], v.m[3 + i] = jy * k.w[3 + i] + jyz * k.w[6 + i];
  const T* s = g.cov;
  T n[6];  // M Sigma3, [2, 3]
  for (int r = 0; r < 2; ++r) {
    const T* m = v.m + 3 * r;
    n[3 * r] = m[0] * s[0] + m[1] * s[1] + m[2] * s[2];
    n[3 * r + 1] = m[0] * s[1] + m[1] * s[3] + m[2] * s[4];
    n[3 * r + 2] = m[0] * s[2] + m[1] * s[4] + m[2] * s[5];
  }
  v.a = n[0] * v.m[0] + n[1] * v.m[1] + n[2] * v.m[2] + T(kSplatDilation);
  v.b = n[0] * v.m[3] + n[1] * v.m[4] + n[2] * v.m[5];
  v.c = n[3] * v.m[3] + n[4] * v.m[4] + n[5] * v.m[5] + T(kSplatDilation);
  v.det = v.a * v.c - v.b * v.b;
  return v.det != 0;
}

// Unit vector from the camera to the Gaussian; returns the distance.
template <class T>
MFL_HD T view_direction(const ActiveGaussian<T>& g, const SplatCamera<T>& k, T* d) {
  T square = 0;
  for (int i = 0; i < 3; ++i) d[i] = g.x[i] - k.position[i], square += d[i] * d[i];
  const T distance = std::sqrt(square);
  for (int i = 0; i < 3; ++i) d[i] /= distance;
  return distance;
}

template <class T>
struct SplatOut {
  T value[kSplatSize] = {};  // u, v, A, B, C, opacity, r, g, b
  T depth = 0;
  std::uint32_t rect = 0;  // tile x | y << 8 | columns << 16 | rows << 24; 0: not seen
};

// Tiles [from, to) of a grid of `tiles` that the interval centre +- radius (pixels) touches; truncation as in the
// reference.
template <class T>
MFL_HD void tile_span(T centre, T radius, int tiles, int& from, int& to) {
  auto clamped = [tiles](T x) {
    const T t = std::trunc(x);
    return t > 0 ? (t < T(tiles) ? int(t) : tiles) : 0;  // NaN: 0
  };
  from = clamped((centre - radius) / kSplatTile);
  to = clamped((centre + radius + (kSplatTile - 1)) / kSplatTile);
}

// features [K, 3].
template <int kDegree, class T>
MFL_HD SplatOut<T> project_one(const ActiveGaussian<T>& g, const SplatCamera<T>& k, const T* features) {
  SplatOut<T> out;
  ViewGaussian<T> v;
  if (!see(g, k, v)) return out;
  const T over_z = T(1) / (v.t[2] + T(1e-7));
  const T pu = (k.fx * v.t[0] + (k.cx - k.width / 2) * v.t[2]) * over_z + (k.width - 1) / 2;
  const T pv = (k.fy * v.t[1] + (k.cy - k.height / 2) * v.t[2]) * over_z + (k.height - 1) / 2;
  const T mid = (v.a + v.c) / 2, spread = mid * mid - v.det;
  const T radius = std::ceil(3 * std::sqrt(mid + std::sqrt(spread > T(0.1) ? spread : T(0.1))));
  int x0, x1, y0, y1;
  tile_span(pu, radius, (int(k.width) + kSplatTile - 1) / kSplatTile, x0, x1);
  tile_span(pv, radius, (int(k.height) + kSplatTile - 1) / kSplatTile, y0, y1);
  if (x1 <= x0 || y1 <= y0) return out;
  out.rect = std::uint32_t(x0) | std::uint32_t(y0) << 8 | std::uint32_t(x1 - x0) << 16 | std::uint32_t(y1 - y0) << 24;
  out.depth = v.t[2];
  const T over_det = T(1) / v.det;
  out.value[0] = pu, out.value[1] = pv;
  out.value[2] = v.c * over_det, out.value[3] = -v.b * over_det, out.value[4] = v.a * over_det;
  out.value[5] = g.opacity;
  T d[3], y[sh_coefficients(kDegree)];
  view_direction(g, k, d);
  sh_basis<kDegree, false>(d, y, static_cast<T(*)[3]>(nullptr));
  for (int c = 0; c < 3; ++c) {
    T sum = T(0.5);
    for (int i = 0; i < sh_coefficients(kDegree); ++i) sum += y[i] * features[3 * i + c];
    out.value[6 + c] = sum > 0 ? sum : T(0);
  }
  return out;
}

// Gradients of one Gaussian, summed over views. cov is the gradient by a symmetric matrix's six entries, each
// off-diagonal one standing for its two places.
template <int kDegree, class T>
struct GaussianGrad {
  T xyz[3] = {}, cov[6] = {}, opacity = 0;
  T features[3 * sh_coefficients(kDegree)] = {};
};

// Adds one view's share. `d` is the gradient of SplatOut::value of a Gaussian that was seen.
template <int kDegree, class T>
MFL_HD void project_one_backward(const ActiveGaussian<T>& g, const SplatCamera<T>& k, const T* features, const T* d,
                                 GaussianGrad<kDegree, T>& out) {
  ViewGaussian<T> v;
  if (!see(g, k, v)) return;
  const T z = v.t[2], over_z = T(1) / (z + T(1e-7));
  T dt[3];
  // position in the image
  dt[0] = k.fx * over_z * d[0];
  dt[1] = k.fy * over_z * d[1];
  const T ox = k.cx - k.width / 2, oy = k.cy - k.height / 2;
  dt[2] = over_z * (ox * d[0] + oy * d[1]) -
          over_z * over_z * ((k.fx * v.t[0] + ox * z) * d[0] + (k.fy * v.t[1] + oy * z) * d[1]);
  // conic to Sigma
  const T a = v.a, b = v.b, c = v.c, s = T(1) / (v.det * v.det + T(1e-7));
  const T da = s * (-c * c * d[2] + b * c * d[3] - b * b * d[4]);
  const T dc = s * (-b * b * d[2] + a * b * d[3] - a * a * d[4]);
  const T db = s * (2 * b * c * d[2] - (v.det + 2 * b * b) * d[3] + 2 * a * b * d[4]);
  // Sigma = M Sigma3 M^T, db belongs to both off-diagonal places together
  const T* m = v.m;
  for (int i = 0, e = 0; i < 3; ++i)
    for (int j = i; j < 3; ++j, ++e) {
      const T both = m[i] * m[j] * da + m[3 + i] * m[3 + j] * dc;
      const T cross = (m[i] * m[3 + j] + m[j] * m[3 + i]) * db;
      out.cov[e] += i == j ? both + cross / 2 : 2 * both + cross;
    }
  const T* q = g.cov;
  const T sigma[9] = {q[0], q[1], q[2], q[1], q[3], q[4], q[2], q[4], q[5]};
  T dm[6];
  for (int j = 0; j < 3; ++j) {
    T n0 = 0, n1 = 0;
    for (int i = 0; i < 3; ++i) n0 += m[i] * sigma[3 * i + j], n1 += m[3 + i] * sigma[3 * i + j];
    dm[j] = 2 * da * n0 + db * n1;
    dm[3 + j] = db * n0 + 2 * dc * n1;
  }
  // M = J W
  T djx = 0, djxz = 0, djy = 0, djyz = 0;
  for (int i = 0; i < 3; ++i) {
    djx += dm[i] * k.w[i], djxz += dm[i] * k.w[6 + i];
    djy += dm[3 + i] * k.w[3 + i], djyz += dm[3 + i] * k.w[6 + i];
  }
  const T z2 = T(1) / (z * z), z3 = z2 / z;
  if (v.inside_x) dt[0] -= k.fx * z2 * djxz;
  if (v.inside_y) dt[1] -= k.fy * z2 * djyz;
  dt[2] += -k.fx * z2 * djx - k.fy * z2 * djy + 2 * k.fx * v.tx * z3 * djxz + 2 * k.fy * v.ty * z3 * djyz;
  for (int i = 0; i < 3; ++i) out.xyz[i] += k.w[i] * dt[0] + k.w[3 + i] * dt[1] + k.w[6 + i] * dt[2];
  out.opacity += d[5];
  // colour
  T dir[3], y[sh_coefficients(kDegree)], dy[sh_coefficients(kDegree)][3];
  const T distance = view_direction(g, k, dir);
  sh_basis<kDegree, (kDegree > 0)>(dir, y, dy);
  T ddir[3] = {};
  for (int ch = 0; ch < 3; ++ch) {
    T sum = T(0.5);
    for (int i = 0; i < sh_coefficients(kDegree); ++i) sum += y[i] * features[3 * i + ch];
    if (!(sum > 0)) continue;  // clamped: no gradient
    for (int i = 0; i < sh_coefficients(kDegree); ++i) {
      out.features[3 * i + ch] += y[i] * d[6 + ch];
      if constexpr (kDegree > 0)
        for (int e = 0; e < 3; ++e) ddir[e] += dy[i][e] * features[3 * i + ch] * d[6 + ch];
    }
  }
  if constexpr (kDegree > 0) {
    const T along = dir[0] * ddir[0] + dir[1] * ddir[1] + dir[2] * ddir[2];
    for (int e = 0; e < 3; ++e) out.xyz[e] += (ddir[e] - dir[e] * along) / distance;
  }
}

// From the sums over views to the gradients before activation.
template <int kDegree, class T>
MFL_HD void activate_backward(const ActiveGaussian<T>& g, const GaussianGrad<kDegree, T>& d, T* dscaling, T* drotation,
                              T* dopacity) {
  // Sigma3 = L L^T, L = R diag(s)
  const T full[9] = {d.cov[0],     d.cov[1] / 2, d.cov[2] / 2, d.cov[1] / 2, d.cov[3],
                     d.cov[4] / 2, d.cov[2] / 2, d.cov[4] / 2, d.cov[5]};
  T dr[9];
  for (int k = 0; k < 3; ++k) {
    T ds = 0;
    for (int i = 0; i < 3; ++i) {
      T dl = 0;
      for (int j = 0; j < 3; ++j) dl += 2 * full[3 * i + j] * g.rotation[3 * j + k] * g.scale[k];
      ds += dl * g.rotation[3 * i + k];
      dr[3 * i + k] = dl * g.scale[k];
    }
    dscaling[k] = ds * g.scale[k];
  }
  const T w = g.q[0], x = g.q[1], y = g.q[2], z = g.q[3];
  const T dq[4] = {2 * (x * (dr[7] - dr[5]) + y * (dr[2] - dr[6]) + z * (dr[3] - dr[1])),
                   2 * (y * (dr[1] + dr[3]) + z * (dr[2] + dr[6]) + w * (dr[7] - dr[5])) - 4 * x * (dr[4] + dr[8]),
                   2 * (x * (dr[1] + dr[3]) + z * (dr[5] + dr[7]) + w * (dr[2] - dr[6])) - 4 * y * (dr[0] + dr[8]),
                   2 * (x * (dr[2] + dr[6]) + y * (dr[5] + dr[7]) + w * (dr[3] - dr[1])) - 4 * z * (dr[0] + dr[4])};
  const T along = w * dq[0] + x * dq[1] + y * dq[2] + z * dq[3];
  for (int i = 0; i < 4; ++i) drotation[i] = (dq[i] - g.q[i] * along) / g.length;
  *dopacity = d.opacity * g.opacity * (1 - g.opacity);
}

}  // namespace mfl
