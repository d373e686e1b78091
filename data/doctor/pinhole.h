// A camera as a file claims it, right or wrong. Unlike data/camera.h nothing is refused here: a doctor must be able to
// look at a mirrored, transposed or millimetre camera, and say so.
//
// Pixels: (0, 0) is the corner of the first pixel. x_camera = w2c x_world; u = (fx x + skew y) / z + cx, v = fy y / z +
// cy.
#pragma once

#include <cmath>
#include <optional>

#include "data/camera.h"

namespace mfl::data::doctor {

inline Vec3 operator+(const Vec3& a, const Vec3& b) { return {a[0] + b[0], a[1] + b[1], a[2] + b[2]}; }
inline Vec3 operator-(const Vec3& a, const Vec3& b) { return {a[0] - b[0], a[1] - b[1], a[2] - b[2]}; }
inline Vec3 operator*(double s, const Vec3& a) { return {s * a[0], s * a[1], s * a[2]}; }
inline double dot(const Vec3& a, const Vec3& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }
inline Vec3 cross(const Vec3& a, const Vec3& b) {
  return {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
}
inline double length(const Vec3& a) { return std::sqrt(dot(a, a)); }
inline Vec3 unit(const Vec3& a) { return (1 / length(a)) * a; }
inline double degrees(double radians) { return radians * 57.29577951308232; }

struct Pixel {
  double u = 0, v = 0;
};

struct Pinhole {
  int width = 0, height = 0;
  double fx = 0, fy = 0, skew = 0, cx = 0, cy = 0;
  Mat4 w2c{};

  bool operator==(const Pinhole&) const = default;
  bool finite() const;                                                            // all values, and fx, fy > 0
  Vec3 row(int i) const { return {w2c[4 * i], w2c[4 * i + 1], w2c[4 * i + 2]}; }  // 0 right, 1 down, 2 forward
  Vec3 translation() const { return {w2c[3], w2c[7], w2c[11]}; }
  double determinant() const { return dot(cross(row(0), row(1)), row(2)); }
  double orthonormality_error() const;  // largest |R R^T - I|
  Vec3 centre() const;                  // -R^-1 t, whatever R is
  double depth(const Vec3& world) const { return dot(row(2), world) + w2c[11]; }
  std::optional<Pixel> project(const Vec3& world) const;  // nothing where the depth is not positive
  Pixel project_signed(const Vec3& world) const;          // also behind the camera; the depth must not be 0
  // World direction of the ray through a pixel, in front of the camera; not of unit length: its depth is 1.
  Vec3 ray(const Pixel&) const;
  double fov_degrees() const { return degrees(2 * std::atan(0.5 * width / fx)); }  // horizontal
};
Pinhole pinhole(const Camera&);
// The same camera for an image resized to width x height.
Pinhole resized(const Pinhole&, int width, int height);

// Precomputed: the rays of one camera cost a matrix product each.
struct RayMap {
  explicit RayMap(const Pinhole&);
  Vec3 origin;
  Vec3 right, down, forward;  // ray(u, v) = u right + v down + forward
  Vec3 ray(const Pixel& p) const { return p.u * right + p.v * down + forward; }
};

// The point nearest to all rays: least squares of the distance. rms: of the rays' miss distances.
struct Meeting {
  Vec3 point{};
  double rms = 0;
};
std::optional<Meeting> meet(const std::vector<Vec3>& origins,
                            const std::vector<Vec3>& directions);  // nothing: parallel rays

// Azimuth from +X towards +Y and elevation above the XY plane, degrees, of a camera as seen from a centre.
struct Bearing {
  double distance = 0, azimuth = 0, elevation = 0;
};
Bearing bearing(const Vec3& camera, const Vec3& centre);

}  // namespace mfl::data::doctor
