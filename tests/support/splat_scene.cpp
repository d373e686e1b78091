#include "tests/support/splat_scene.h"

#include <algorithm>
#include <cmath>

#include "runtime/rng.h"

namespace mfl::test {

std::array<float, 16> ring_camera(double azimuth, double elevation, double radius) {
  const double p[3] = {radius * std::cos(elevation) * std::cos(azimuth),
                       radius * std::cos(elevation) * std::sin(azimuth), radius * std::sin(elevation)};
  const double f[3] = {-p[0] / radius, -p[1] / radius, -p[2] / radius};
  double right[3] = {f[1], -f[0], 0};  // forward x (0, 0, 1)
  const double length = std::hypot(right[0], right[1]);
  for (double& x : right) x /= length;
  const double down[3] = {f[1] * right[2] - f[2] * right[1], f[2] * right[0] - f[0] * right[2],
                          f[0] * right[1] - f[1] * right[0]};
  std::array<float, 16> m{};
  for (int i = 0; i < 3; ++i) {
    m[std::size_t(4 * i)] = float(right[i]);
    m[std::size_t(4 * i + 1)] = float(down[i]);
    m[std::size_t(4 * i + 2)] = float(f[i]);
    m[std::size_t(4 * i + 3)] = float(p[i]);
  }
  m[15] = 1;
  return m;
}

SplatScene ring_scene(SceneKind kind, int size, std::uint64_t seed) {
  constexpr double kDegree = 3.14159265358979323846 / 180;
  constexpr int kInputs = 6;
  SplatScene s;
  s.size = size;
  s.views = kInputs + 2;
  s.gaussians = std::int64_t(kInputs) * size * size + 2;
  const double focal = size / (2 * std::tan(25 * kDegree));
  for (double azimuth : {0., 60., 120., 180., 240., 300., 30., 150.}) {
    const auto m = ring_camera(azimuth * kDegree, 0.3, 2.7);
    s.c2w.insert(s.c2w.end(), m.begin(), m.end());
    for (double k : {focal, focal, size / 2.0, size / 2.0}) s.fxfycxcy.push_back(float(k));
  }
  Rng rng(seed, Draw::test);
  for (std::int64_t i = 0; i < s.gaussians; ++i) {
    double x[3] = {0, 0, 0};
    bool hit = true;
    if (i >= 2) {
      const std::int64_t pixel = (i - 2) % (std::int64_t(size) * size);
      const float* m = s.c2w.data() + 16 * ((i - 2) / (std::int64_t(size) * size));
      const double c[3] = {(double(pixel % size) + 0.5 - size / 2.0) / focal,
                           (double(pixel / size) + 0.5 - size / 2.0) / focal, 1};
      const double norm = std::sqrt(c[0] * c[0] + c[1] * c[1] + 1);
      double d[3], o[3], od = 0, oo = 0;
      for (int e = 0; e < 3; ++e) {
        d[e] = (m[4 * e] * c[0] + m[4 * e + 1] * c[1] + m[4 * e + 2] * c[2]) / norm;
        o[e] = m[4 * e + 3];
        od += o[e] * d[e], oo += o[e] * o[e];
      }
      const double inside = od * od - oo + 0.36;  // of the square root, sphere of radius 0.6
      hit = inside > 0;
      double t = -od;
      if (kind == SceneKind::trained && hit) t -= std::sqrt(inside);
      if (kind == SceneKind::initialised) t += rng.uniform(-0.2, 0.2);
      for (int e = 0; e < 3; ++e) x[e] = o[e] + t * d[e];
    }
    for (double& e : x) {
      if (kind == SceneKind::trained)
        e += 0.002 * rng.normal();
      else
        e = std::clamp(e, -1.0, 1.0);
      s.xyz.push_back(float(e));
    }
    for (int e = 0; e < 3; ++e) s.features.push_back(float(rng.uniform(-1.5, 1.5)));
    for (int e = 0; e < 3; ++e)
      s.scaling.push_back(
          float(kind == SceneKind::trained ? std::log(0.004) + 0.3 * rng.normal() : -2.3 + 0.1 * rng.normal()));
    for (int e = 0; e < 4; ++e) s.rotation.push_back(float(rng.normal()));
    s.opacity.push_back(
        float(kind == SceneKind::initialised ? -2 + 0.3 * rng.normal() : (hit ? 1.5 : -5) + 0.5 * rng.normal()));
  }
  return s;
}

}  // namespace mfl::test
