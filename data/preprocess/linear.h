// The few operations on 3-vectors and 3x3 matrices that camera geometry needs. Row-major.
#pragma once

#include <cmath>

#include "data/camera.h"

namespace mfl::data::preprocess {

inline double dot(const Vec3& a, const Vec3& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }
inline Vec3 cross(const Vec3& a, const Vec3& b) {
  return {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
}
inline double length(const Vec3& a) { return std::sqrt(dot(a, a)); }
inline Vec3 minus(const Vec3& a, const Vec3& b) { return {a[0] - b[0], a[1] - b[1], a[2] - b[2]}; }
inline Vec3 scaled_by(double s, const Vec3& a) { return {s * a[0], s * a[1], s * a[2]}; }
inline Vec3 unit(const Vec3& a) { return scaled_by(1 / length(a), a); }

inline Vec3 row(const Mat3& m, int i) { return {m[3 * i], m[3 * i + 1], m[3 * i + 2]}; }
inline Vec3 product(const Mat3& m, const Vec3& v) { return {dot(row(m, 0), v), dot(row(m, 1), v), dot(row(m, 2), v)}; }
inline Mat3 transposed(const Mat3& m) { return {m[0], m[3], m[6], m[1], m[4], m[7], m[2], m[5], m[8]}; }
inline Mat3 product(const Mat3& a, const Mat3& b) {
  Mat3 c{};
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) c[3 * i + j] = a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j];
  return c;
}
inline double determinant(const Mat3& m) { return dot(cross(row(m, 0), row(m, 1)), row(m, 2)); }
inline Mat3 inverse(const Mat3& m) {  // the determinant must not be 0
  const Vec3 a = cross(row(m, 1), row(m, 2)), b = cross(row(m, 2), row(m, 0)), c = cross(row(m, 0), row(m, 1));
  const double d = 1 / dot(row(m, 0), a);
  return {d * a[0], d * b[0], d * c[0], d * a[1], d * b[1], d * c[1], d * a[2], d * b[2], d * c[2]};
}
inline Mat3 rows(const Vec3& a, const Vec3& b, const Vec3& c) {
  return {a[0], a[1], a[2], b[0], b[1], b[2], c[0], c[1], c[2]};
}

}  // namespace mfl::data::preprocess
