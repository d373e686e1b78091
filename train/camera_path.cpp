// The cameras of turntables and films: train/turntable.h.
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "runtime/error.h"
#include "train/turntable.h"

namespace mfl {
namespace {

using Vec = std::array<double, 3>;
using Quaternion = std::array<double, 4>;  // w x y z

double dot(const Vec& a, const Vec& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }
Vec cross(const Vec& a, const Vec& b) { return {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]}; }
Vec unit(const Vec& a) {
  const double n = std::sqrt(dot(a, a));
  MFL_CHECK(n > 0, "a direction of length 0");
  return {a[0] / n, a[1] / n, a[2] / n};
}
// Column `c` of camera v's c2w: 0 right, 1 down, 2 forward, 3 position.
Vec column(const gslrm::Cameras& k, std::int64_t v, int c) {
  const float* m = k.c2w.data<float>() + 16 * v;
  return {double(m[c]), double(m[4 + c]), double(m[8 + c])};
}

// The smallest rotation that takes +z to `to` (length 1), row-major.
std::array<double, 9> from_z(const Vec& to) {
  const double c = to[2];
  if (c < -1 + 1e-12) return {1, 0, 0, 0, -1, 0, 0, 0, -1};
  const double x = -to[1], y = to[0], s = 1 / (1 + c);   // axis z x to
  return {c + s * x * x, s * x * y, y, s * x * y, c + s * y * y, -x, -y, x, c};
}
Vec turned(const std::array<double, 9>& r, const Vec& a) {
  return {r[0] * a[0] + r[1] * a[1] + r[2] * a[2], r[3] * a[0] + r[4] * a[1] + r[5] * a[2], r[6] * a[0] + r[7] * a[1] + r[8] * a[2]};
}

Quaternion quaternion(const gslrm::Cameras& k, std::int64_t v) {
  const Vec x = column(k, v, 0), y = column(k, v, 1), z = column(k, v, 2);
  const double m[3][3] = {{x[0], y[0], z[0]}, {x[1], y[1], z[1]}, {x[2], y[2], z[2]}};
  // The largest of the four is found first: dividing by it is safe.
  const double square[4] = {1 + m[0][0] + m[1][1] + m[2][2], 1 + m[0][0] - m[1][1] - m[2][2], 1 - m[0][0] + m[1][1] - m[2][2],
                            1 - m[0][0] - m[1][1] + m[2][2]};
  const auto at = std::max_element(square, square + 4) - square;
  Quaternion q;
  if (at == 0)
    q = {square[0], m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]};
  else if (at == 1)
    q = {m[2][1] - m[1][2], square[1], m[0][1] + m[1][0], m[0][2] + m[2][0]};
  else if (at == 2)
    q = {m[0][2] - m[2][0], m[0][1] + m[1][0], square[2], m[1][2] + m[2][1]};
  else
    q = {m[1][0] - m[0][1], m[0][2] + m[2][0], m[1][2] + m[2][1], square[3]};
  const double n = std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
  for (double& e : q) e /= n;
  return q;
}

std::array<double, 9> rotation(const Quaternion& q) {
  const double w = q[0], x = q[1], y = q[2], z = q[3];
  return {1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y), 2 * (x * y + w * z), 1 - 2 * (x * x + z * z),
          2 * (y * z - w * x),     2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)};
}

// Along the great arc from a to b, `angle` apart and at most a quarter.
Quaternion along(const Quaternion& a, const Quaternion& b, double angle, double t) {
  const double s = std::sin(angle);
  const double wa = s > 1e-9 ? std::sin((1 - t) * angle) / s : 1 - t, wb = s > 1e-9 ? std::sin(t * angle) / s : t;
  Quaternion out;
  double square = 0;
  for (std::size_t i = 0; i < 4; ++i) out[i] = wa * a[i] + wb * b[i], square += out[i] * out[i];
  for (double& e : out) e /= std::sqrt(square);
  return out;
}

// The point with the smallest sum of squared distances to all optical axes; parallel ones: the middle of the positions.
Vec looked_at(const gslrm::Cameras& k) {
  const std::int64_t n = k.c2w.shape()[0];
  double a[3][3] = {}, b[3] = {};
  Vec middle{};
  for (std::int64_t v = 0; v < n; ++v) {
    const Vec d = unit(column(k, v, 2)), o = column(k, v, 3);
    for (std::size_t i = 0; i < 3; ++i) {
      middle[i] += o[i] / double(n);
      for (std::size_t j = 0; j < 3; ++j) {
        const double p = (i == j ? 1.0 : 0.0) - d[i] * d[j];
        a[i][j] += p, b[i] += p * o[j];
      }
    }
  }
  auto determinant = [](const double m[3][3]) {
    return m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
           m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
  };
  const double det = determinant(a), size = a[0][0] + a[1][1] + a[2][2];
  if (det < 1e-6 * size * size * size) return middle;
  Vec point;
  for (std::size_t c = 0; c < 3; ++c) {   // Cramer
    double m[3][3];
    std::copy(&a[0][0], &a[0][0] + 9, &m[0][0]);
    for (std::size_t r = 0; r < 3; ++r) m[r][c] = b[r];
    point[c] = determinant(m) / det;
  }
  return point;
}

}  // namespace

gslrm::Cameras turntable_cameras(const Turntable& t) {
  MFL_CHECK(t.views > 0 && t.size > 0, "a turntable of ", t.views, " views of ", t.size, " pixels");
  constexpr double kRadians = std::numbers::pi / 180;
  const double f = t.size / (2 * std::tan(t.hfov * kRadians / 2));
  const std::array<double, 9> tilt = from_z(unit(t.up));
  gslrm::Cameras cameras{Tensor::on_heap({t.views, 4, 4}, DType::f32), Tensor::on_heap({t.views, 4}, DType::f32), t.size, t.size};
  for (int i = 0; i < t.views; ++i) {
    const double azimuth = (t.first_azimuth + 360.0 * i / t.views) * kRadians, elevation = t.elevation * kRadians;
    const Vec away = {std::cos(elevation) * std::cos(azimuth), std::cos(elevation) * std::sin(azimuth), std::sin(elevation)};
    const Vec forward = {-away[0], -away[1], -away[2]};
    const Vec right = unit(cross(forward, {0, 0, 1}));
    const Vec axes[4] = {turned(tilt, right), turned(tilt, cross(forward, right)), turned(tilt, forward), turned(tilt, away)};
    float* m = cameras.c2w.data<float>() + 16 * i;
    for (std::size_t row = 0; row < 3; ++row) {
      for (std::size_t c = 0; c < 3; ++c) m[4 * row + c] = static_cast<float>(axes[c][row]);
      m[4 * row + 3] = static_cast<float>(t.centre[row] + t.radius * axes[3][row]);
    }
    m[12] = m[13] = m[14] = 0, m[15] = 1;
    float* k = cameras.fxfycxcy.data<float>() + 4 * i;
    k[0] = k[1] = static_cast<float>(f), k[2] = k[3] = static_cast<float>(t.size / 2.0);
  }
  return cameras;
}

std::array<double, 3> rig_up(const gslrm::Cameras& k) {
  Vec sum{};
  const std::int64_t n = k.c2w.shape()[0];
  for (std::int64_t v = 0; v < n; ++v)
    for (std::size_t i = 0; i < 3; ++i) sum[i] -= column(k, v, 1)[i];
  if (!(dot(sum, sum) > 1e-6 * double(n * n)))
    throw_error<DataError>("the ", n, " cameras have no up axis in common: their own cancel. Give one.");
  return unit(sum);
}

std::vector<std::int64_t> ring_order(const gslrm::Cameras& k, const std::array<double, 3>& up) {
  const std::int64_t n = k.c2w.shape()[0];
  if (n == 0) return {};
  const Vec centre = looked_at(k), axis = unit(up);
  auto from_centre = [&](std::int64_t v) {
    Vec a = column(k, v, 3);
    for (std::size_t i = 0; i < 3; ++i) a[i] -= centre[i];
    return a;
  };
  Vec x = from_centre(0);
  const double height = dot(x, axis);
  for (std::size_t i = 0; i < 3; ++i) x[i] -= height * axis[i];
  if (!(dot(x, x) > 1e-12)) x = std::abs(axis[0]) < 0.9 ? cross(axis, {1, 0, 0}) : cross(axis, {0, 1, 0});   // right above it
  const Vec y = cross(axis, x);
  std::vector<std::pair<double, std::int64_t>> angle;
  for (std::int64_t v = 0; v < n; ++v) {
    double a = std::atan2(dot(from_centre(v), y), dot(from_centre(v), x));
    if (v == 0) a = 0;
    if (a < -1e-9) a += 2 * std::numbers::pi;
    angle.push_back({std::max(a, 0.0), v});
  }
  std::sort(angle.begin(), angle.end());
  std::vector<std::int64_t> order;
  for (const auto& [a, v] : angle) order.push_back(v);
  return order;
}

gslrm::Cameras cameras_of_size(const gslrm::Cameras& k, int size, const std::vector<std::int64_t>& order) {
  const std::int64_t n = k.c2w.shape()[0], count = order.empty() ? n : static_cast<std::int64_t>(order.size());
  MFL_CHECK(size > 0 && k.width > 0 && k.height > 0, "cameras_of_size: from ", k.width, " x ", k.height, " to ", size);
  const double scale = double(size) / std::max(k.width, k.height);
  gslrm::Cameras out{Tensor::on_heap({count, 4, 4}, DType::f32), Tensor::on_heap({count, 4}, DType::f32),
                     std::max(1, static_cast<int>(std::lround(k.height * scale))), std::max(1, static_cast<int>(std::lround(k.width * scale)))};
  const double sx = double(out.width) / k.width, sy = double(out.height) / k.height;   // of the pixels that there are
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t v = order.empty() ? i : order[static_cast<std::size_t>(i)];
    MFL_CHECK(v >= 0 && v < n, "cameras_of_size: camera ", v, " of ", n);
    std::copy_n(k.c2w.data<float>() + 16 * v, 16, out.c2w.data<float>() + 16 * i);
    for (int e = 0; e < 4; ++e) out.fxfycxcy.data<float>()[4 * i + e] = static_cast<float>(double(k.fxfycxcy.data<float>()[4 * v + e]) * (e % 2 == 0 ? sx : sy));
  }
  return out;
}

gslrm::Cameras camera_path(const gslrm::Cameras& keys, int frames) {
  const std::int64_t n = keys.c2w.shape()[0];
  MFL_CHECK(n >= 2 && frames > 0, "camera_path: ", frames, " frames through ", n, " cameras; it takes two");
  const Vec centre = looked_at(keys);
  struct Key {
    Vec offset;          // from the camera to the centre, in its own axes
    Quaternion q, next;  // its orientation; the next key's, on the shorter way
    double turn;         // between them, in the space of quaternions
  };
  std::vector<Key> key(static_cast<std::size_t>(n));
  double farthest = 0;
  for (std::int64_t v = 0; v < n; ++v) {
    Key& one = key[static_cast<std::size_t>(v)];
    const Vec position = column(keys, v, 3);
    const Vec to_centre = {centre[0] - position[0], centre[1] - position[1], centre[2] - position[2]};
    one.q = quaternion(keys, v);
    const std::array<double, 9> r = rotation(one.q);
    for (std::size_t c = 0; c < 3; ++c) one.offset[c] = r[c] * to_centre[0] + r[3 + c] * to_centre[1] + r[6 + c] * to_centre[2];
    farthest = std::max(farthest, std::sqrt(dot(to_centre, to_centre)));
  }
  std::vector<double> start(1, 0.0);  // of each part of the way
  for (std::size_t v = 0; v < key.size(); ++v) {
    const Key& next = key[(v + 1) % key.size()];
    double cosine = 0, shift = 0;
    for (std::size_t i = 0; i < 4; ++i) cosine += key[v].q[i] * next.q[i];
    for (std::size_t i = 0; i < 4; ++i) key[v].next[i] = cosine < 0 ? -next.q[i] : next.q[i];
    for (std::size_t i = 0; i < 3; ++i) shift += (next.offset[i] - key[v].offset[i]) * (next.offset[i] - key[v].offset[i]);
    key[v].turn = std::acos(std::min(1.0, std::abs(cosine)));
    start.push_back(start.back() + std::max(2 * key[v].turn + std::sqrt(shift) / std::max(farthest, 1e-12), 1e-9));
  }
  gslrm::Cameras out{Tensor::on_heap({frames, 4, 4}, DType::f32), Tensor::on_heap({frames, 4}, DType::f32), keys.height, keys.width};
  for (int f = 0; f < frames; ++f) {
    const double at = start.back() * f / frames;
    std::size_t v = 0;
    while (v + 1 < key.size() && start[v + 1] <= at) ++v;
    const double t = std::clamp((at - start[v]) / (start[v + 1] - start[v]), 0.0, 1.0);
    const std::size_t w = (v + 1) % key.size();
    const std::array<double, 9> r = rotation(along(key[v].q, key[v].next, key[v].turn, t));
    float* m = out.c2w.data<float>() + 16 * f;
    for (std::size_t row = 0; row < 3; ++row) {
      double position = centre[row];
      for (std::size_t c = 0; c < 3; ++c) {
        m[4 * row + c] = static_cast<float>(r[3 * row + c]);
        position -= r[3 * row + c] * ((1 - t) * key[v].offset[c] + t * key[w].offset[c]);
      }
      m[4 * row + 3] = static_cast<float>(position);
    }
    m[12] = m[13] = m[14] = 0, m[15] = 1;
    const float *a = keys.fxfycxcy.data<float>() + 4 * v, *b = keys.fxfycxcy.data<float>() + 4 * w;
    for (int e = 0; e < 4; ++e) out.fxfycxcy.data<float>()[4 * f + e] = static_cast<float>((1 - t) * double(a[e]) + t * double(b[e]));
  }
  return out;
}

}  // namespace mfl
