#include "data/doctor/pinhole.h"

#include <algorithm>

namespace mfl::data::doctor {
namespace {

// Inverse of a 3x3 matrix by its rows' cross products; columns of the result.
struct Inverse {
  Vec3 column[3];
  Inverse(const Vec3& a, const Vec3& b, const Vec3& c) {
    const Vec3 x = cross(b, c), y = cross(c, a), z = cross(a, b);
    const double d = dot(a, x);
    const double s = d != 0 ? 1 / d : 0;
    column[0] = s * x, column[1] = s * y, column[2] = s * z;
  }
  Vec3 operator*(const Vec3& v) const { return v[0] * column[0] + v[1] * column[1] + v[2] * column[2]; }
};

}  // namespace

bool Pinhole::finite() const {
  bool good = std::isfinite(fx) && std::isfinite(fy) && std::isfinite(skew) && std::isfinite(cx) && std::isfinite(cy) &&
              fx > 0 && fy > 0;
  for (double v : w2c) good &= std::isfinite(v);
  return good && std::abs(determinant()) > 1e-12;
}

double Pinhole::orthonormality_error() const {
  double worst = 0;
  for (int i = 0; i < 3; ++i)
    for (int j = i; j < 3; ++j) worst = std::max(worst, std::abs(dot(row(i), row(j)) - (i == j)));
  return worst;
}

Vec3 Pinhole::centre() const { return -1 * (Inverse(row(0), row(1), row(2)) * translation()); }

Pixel Pinhole::project_signed(const Vec3& p) const {
  const double x = dot(row(0), p) + w2c[3], y = dot(row(1), p) + w2c[7], z = depth(p);
  return {(fx * x + skew * y) / z + cx, fy * y / z + cy};
}
std::optional<Pixel> Pinhole::project(const Vec3& p) const {
  if (!(depth(p) > 0)) return {};
  return project_signed(p);
}

Vec3 Pinhole::ray(const Pixel& p) const { return RayMap(*this).ray(p); }

// K^-1 = [1/fx, -s/(fx fy), (s cy - cx fy)/(fx fy); 0, 1/fy, -cy/fy; 0, 0, 1].
RayMap::RayMap(const Pinhole& c) : origin(c.centre()) {
  const Inverse r(c.row(0), c.row(1), c.row(2));
  right = (1 / c.fx) * r.column[0];
  down = (1 / c.fy) * r.column[1] - (c.skew / (c.fx * c.fy)) * r.column[0];
  forward = r.column[2] - c.cx * right - c.cy * down;
}

Pinhole pinhole(const Camera& c) {
  Pinhole p;
  p.width = c.width, p.height = c.height, p.fx = c.fx, p.fy = c.fy, p.cx = c.cx, p.cy = c.cy, p.w2c = c.w2c;
  return p;
}
Pinhole resized(const Pinhole& c, int width, int height) {
  Pinhole p = c;
  const double x = static_cast<double>(width) / c.width, y = static_cast<double>(height) / c.height;
  p.width = width, p.height = height;
  p.fx *= x, p.skew *= x, p.cx *= x, p.fy *= y, p.cy *= y;
  return p;
}

// (sum of I - d d^T) X = sum of (I - d d^T) o.
std::optional<Meeting> meet(const std::vector<Vec3>& origins, const std::vector<Vec3>& directions) {
  Vec3 m[3]{}, b{};
  for (std::size_t i = 0; i < origins.size(); ++i) {
    const Vec3 d = unit(directions[i]);
    for (int r = 0; r < 3; ++r)
      for (int c = 0; c < 3; ++c) {
        const double p = (r == c) - d[r] * d[c];
        m[r][c] += p, b[r] += p * origins[i][c];
      }
  }
  const double n = static_cast<double>(origins.size());
  if (origins.size() < 2 || !(std::abs(dot(m[0], cross(m[1], m[2]))) > 1e-9 * n * n * n)) return {};
  Meeting found;
  found.point = Inverse(m[0], m[1], m[2]) * b;
  for (std::size_t i = 0; i < origins.size(); ++i) {
    const Vec3 away = cross(found.point - origins[i], unit(directions[i]));
    found.rms += dot(away, away) / n;
  }
  found.rms = std::sqrt(found.rms);
  return found;
}

Bearing bearing(const Vec3& camera, const Vec3& centre) {
  const Vec3 d = camera - centre;
  Bearing b;
  b.distance = length(d);
  b.azimuth = degrees(std::atan2(d[1], d[0]));
  b.elevation = b.distance > 0 ? degrees(std::asin(std::clamp(d[2] / b.distance, -1.0, 1.0))) : 0;
  return b;
}

}  // namespace mfl::data::doctor
