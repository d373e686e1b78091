#include "data/camera.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "runtime/error.h"

namespace mfl::data {
namespace {

double dot(const Vec3& a, const Vec3& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }
Vec3 cross(const Vec3& a, const Vec3& b) {
  return {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
}
double length(const Vec3& a) { return std::sqrt(dot(a, a)); }
Vec3 unit(const Vec3& a) {
  const double n = length(a);
  return {a[0] / n, a[1] / n, a[2] / n};
}

// Eigenvector of the smallest eigenvalue of a symmetric 3x3 matrix: cyclic Jacobi.
Vec3 least_axis(std::array<std::array<double, 3>, 3> m) {
  std::array<std::array<double, 3>, 3> v{{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
  for (int sweep = 0; sweep < 50; ++sweep) {
    const double off = m[0][1] * m[0][1] + m[0][2] * m[0][2] + m[1][2] * m[1][2];
    if (off == 0) break;
    for (int p = 0; p < 2; ++p)
      for (int q = p + 1; q < 3; ++q) {
        if (m[p][q] == 0) continue;
        const double theta = (m[q][q] - m[p][p]) / (2 * m[p][q]);
        const double t = (theta >= 0 ? 1 : -1) / (std::abs(theta) + std::sqrt(theta * theta + 1));
        const double c = 1 / std::sqrt(t * t + 1), s = t * c;
        for (int k = 0; k < 3; ++k) {
          const double a = m[k][p], b = m[k][q];
          m[k][p] = c * a - s * b, m[k][q] = s * a + c * b;
        }
        for (int k = 0; k < 3; ++k) {
          const double a = m[p][k], b = m[q][k];
          m[p][k] = c * a - s * b, m[q][k] = s * a + c * b;
          const double x = v[k][p], y = v[k][q];
          v[k][p] = c * x - s * y, v[k][q] = s * x + c * y;
        }
      }
  }
  int least = 0;
  for (int k = 1; k < 3; ++k)
    if (m[k][k] < m[least][least]) least = k;
  return unit({v[0][least], v[1][least], v[2][least]});
}

}  // namespace

Mat4 multiply(const Mat4& a, const Mat4& b) {
  Mat4 m{};
  for (int i = 0; i < 4; ++i)
    for (int k = 0; k < 4; ++k)
      for (int j = 0; j < 4; ++j) m[4 * i + j] += a[4 * i + k] * b[4 * k + j];
  return m;
}

Mat4 rigid_inverse(const Mat4& m) {
  Mat4 v{};
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) v[4 * i + j] = m[4 * j + i];
    v[4 * i + 3] = -(m[i] * m[3] + m[4 + i] * m[7] + m[8 + i] * m[11]);
  }
  v[15] = 1;
  return v;
}

Mat4 inverse(const Mat4& in) {
  Mat4 m = in, v{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
  for (int c = 0; c < 4; ++c) {
    int pivot = c;
    for (int r = c + 1; r < 4; ++r)
      if (std::abs(m[4 * r + c]) > std::abs(m[4 * pivot + c])) pivot = r;
    if (m[4 * pivot + c] == 0) throw_error<DataError>("a camera matrix cannot be inverted");
    for (int k = 0; k < 4; ++k) std::swap(m[4 * c + k], m[4 * pivot + k]), std::swap(v[4 * c + k], v[4 * pivot + k]);
    const double scale = 1 / m[4 * c + c];
    for (int k = 0; k < 4; ++k) m[4 * c + k] *= scale, v[4 * c + k] *= scale;
    for (int r = 0; r < 4; ++r) {
      if (r == c) continue;
      const double f = m[4 * r + c];
      for (int k = 0; k < 4; ++k) m[4 * r + k] -= f * m[4 * c + k], v[4 * r + k] -= f * v[4 * c + k];
    }
  }
  return v;
}

Vec3 position(const Camera& c) {
  const Mat4 m = rigid_inverse(c.w2c);
  return {m[3], m[7], m[11]};
}

void check_camera(const Camera& c, const std::string& where) {
  const auto finite = [&](double v, const char* what) {
    if (!std::isfinite(v)) throw_error<DataError>(where, ": ", what, " is not a finite number");
  };
  finite(c.fx, "fx"), finite(c.fy, "fy"), finite(c.cx, "cx"), finite(c.cy, "cy");
  if (!(c.fx > 0)) throw_error<DataError>(where, ": fx must be positive, got ", c.fx);
  if (!(c.fy > 0)) throw_error<DataError>(where, ": fy must be positive, got ", c.fy);
  for (double v : c.w2c) finite(v, "a value of w2c");
  const Mat4& m = c.w2c;
  if (m[12] != 0 || m[13] != 0 || m[14] != 0 || m[15] != 1)
    throw_error<DataError>(where, ": the last row of w2c must be 0 0 0 1, got ", m[12], ' ', m[13], ' ', m[14], ' ', m[15]);
  const Vec3 r[3] = {{m[0], m[1], m[2]}, {m[4], m[5], m[6]}, {m[8], m[9], m[10]}};
  for (int i = 0; i < 3; ++i)
    for (int j = i; j < 3; ++j) {
      const double d = dot(r[i], r[j]), want = i == j;
      if (!(std::abs(d - want) <= 1e-3))
        throw_error<DataError>(where, ": the rotation of w2c must be orthonormal; rows ", i, " and ", j, " have the product ", d,
                               " instead of ", want, ". A scaled or sheared rig must be converted first");
    }
  const double det = dot(cross(r[0], r[1]), r[2]);
  if (!(std::abs(det - 1) <= 4e-3))
    throw_error<DataError>(where, ": the rotation of w2c must have determinant +1, got ", det,
                           ". A determinant of -1 mirrors the world: check the axes (OpenCV: x right, y down, z forward)");
}

Camera scaled(const Camera& c, int from_width, int from_height, int width, int height) {
  Camera s = c;
  const double x = static_cast<double>(width) / from_width, y = static_cast<double>(height) / from_height;
  s.width = width, s.height = height;
  s.fx *= x, s.cx *= x, s.fy *= y, s.cy *= y;
  return s;
}

// F w2c M with F = diag(-1, 1, 1, 1) and M = diag(-1, 1, 1, 1): the pixel's x becomes width - x, the determinant stays +1.
Camera flipped(const Camera& c, int width) {
  Camera f = c;
  f.cx = width - c.cx;
  for (int j = 0; j < 4; ++j) f.w2c[j] = -f.w2c[j];
  for (int i = 0; i < 4; ++i) f.w2c[4 * i] = -f.w2c[4 * i];
  return f;
}

// With A = [cos sin; -sin cos] on pixels (y points down), p' = A (p - centre) + centre: the camera rolls by A, and the
// principal point turns with the image.
Camera rolled(const Camera& c, int width, int height, double degrees, const std::string& where) {
  if (std::abs(c.fx / c.fy - 1) > 1e-4)
    throw_error<DataError>(where, ": rotation augmentation needs square pixels, but fx = ", c.fx, " and fy = ", c.fy,
                           ". Set mouse.augmentation.rotation_range to 0, or pack the data with a square K");
  const double a = degrees * std::numbers::pi / 180, cos = std::cos(a), sin = std::sin(a);
  Camera r = c;
  for (int j = 0; j < 4; ++j) {
    r.w2c[j] = cos * c.w2c[j] + sin * c.w2c[4 + j];
    r.w2c[4 + j] = -sin * c.w2c[j] + cos * c.w2c[4 + j];
  }
  const double dx = c.cx - 0.5 * width, dy = c.cy - 0.5 * height;
  r.cx = cos * dx + sin * dy + 0.5 * width;
  r.cy = -sin * dx + cos * dy + 0.5 * height;
  return r;
}

Camera ring_camera(double azimuth_degrees, double elevation_degrees, double radius, double fov_degrees, int image_size) {
  const double rad = std::numbers::pi / 180, a = azimuth_degrees * rad, e = elevation_degrees * rad;
  const Vec3 back{std::cos(e) * std::cos(a), std::cos(e) * std::sin(a), std::sin(e)};
  const Vec3 forward{-back[0], -back[1], -back[2]};
  const Vec3 right{-std::sin(a), std::cos(a), 0};
  const Vec3 down = cross(forward, right);
  Camera c;
  c.width = c.height = image_size;
  c.fx = c.fy = 0.5 * image_size / std::tan(0.5 * fov_degrees * rad);
  c.cx = c.cy = 0.5 * image_size;
  c.w2c = {right[0], right[1], right[2], 0, down[0], down[1], down[2], 0, forward[0], forward[1], forward[2], radius, 0, 0, 0, 1};
  return c;
}

Vec3 up_direction(const std::vector<Mat4>& c2w, const std::optional<Vec3>& given) {
  if (given) {
    if (!(length(*given) > 0)) throw_error<DataError>("the measured up direction has length 0");
    return unit(*given);
  }
  Vec3 mean_up{}, centre{};
  for (const Mat4& m : c2w)
    for (int k = 0; k < 3; ++k) mean_up[k] -= m[4 * k + 1] / c2w.size(), centre[k] += m[4 * k + 3] / c2w.size();
  if (!(length(mean_up) > 1e-6))
    throw_error<DataError>("the cameras' up directions cancel out, so the rig's up direction is unknown. Set "
                           "mouse.normalize_cameras to false");
  if (c2w.size() < 3) return unit(mean_up);
  std::array<std::array<double, 3>, 3> scatter{};
  for (const Mat4& m : c2w)
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 3; ++j) scatter[i][j] += (m[4 * i + 3] - centre[i]) * (m[4 * j + 3] - centre[j]);
  Vec3 up = least_axis(scatter);
  if (dot(up, mean_up) < 0) up = {-up[0], -up[1], -up[2]};
  return up;
}

// R = I + K + K^2 (1 - cos) / sin^2, K the cross-product matrix of up x axis. Rodrigues' formula.
std::array<double, 9> rotation_to_axis(const Vec3& up, bool z_up) {
  const Vec3 axis = z_up ? Vec3{0, 0, 1} : Vec3{0, 1, 0};
  const Vec3 v = cross(up, axis);
  const double sine = length(v), cosine = dot(up, axis);
  if (sine < 1e-6) return cosine > 0 ? std::array<double, 9>{1, 0, 0, 0, 1, 0, 0, 0, 1} : std::array<double, 9>{1, 0, 0, 0, -1, 0, 0, 0, -1};
  const double k[9] = {0, -v[2], v[1], v[2], 0, -v[0], -v[1], v[0], 0};
  const double f = (1 - cosine) / (sine * sine);
  std::array<double, 9> r{};
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) {
      double square = 0;
      for (int n = 0; n < 3; ++n) square += k[3 * i + n] * k[3 * n + j];
      r[3 * i + j] = (i == j) + k[3 * i + j] + f * square;
    }
  return r;
}

double normalise_cameras(std::vector<Mat4>& c2w, const CameraNormalisation& n, const std::optional<Vec3>& given) {
  if (n.rotate) {
    const std::array<double, 9> r = rotation_to_axis(up_direction(c2w, given), n.z_up);
    const Mat4 turn{r[0], r[1], r[2], 0, r[3], r[4], r[5], 0, r[6], r[7], r[8], 0, 0, 0, 0, 1};
    for (Mat4& m : c2w) m = multiply(turn, m);
  }
  double least = 0, most = 0;
  for (std::size_t i = 0; i < c2w.size(); ++i) {
    Mat4& m = c2w[i];
    const double radius = length({m[3], m[7], m[11]});
    least = i ? std::min(least, radius) : radius, most = i ? std::max(most, radius) : radius;
    if (n.target_distance > 0 && radius > 1e-6)
      for (int k = 0; k < 3; ++k) m[4 * k + 3] *= n.target_distance / radius;
  }
  return least > 0 ? most / least : 1;
}

}  // namespace mfl::data
