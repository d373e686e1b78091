// Cameras for tests: on a sphere of radius 2.7, looking near the origin, OpenCV axes.
#pragma once

#include <array>
#include <cmath>
#include <functional>
#include <memory>
#include <vector>

#include "runtime/rng.h"
#include "runtime/view.h"

namespace mfl::test {

// Row-major camera-to-world, from four draws.
inline std::array<double, 16> look_at(Rng& r) {
  const double azimuth = r.uniform(0, 6.28), elevation = r.uniform(-1, 1), radius = 2.7;
  const double o[3] = {radius * std::cos(elevation) * std::cos(azimuth),
                       radius * std::cos(elevation) * std::sin(azimuth), radius * std::sin(elevation)};
  double z[3], length = 0;
  const double aim[3] = {r.uniform(-0.3, 0.3), r.uniform(-0.3, 0.3), 0.1};
  for (int i = 0; i < 3; ++i) z[i] = aim[i] - o[i], length += z[i] * z[i];
  for (double& e : z) e /= std::sqrt(length);
  double x[3] = {z[1], -z[0], 0};  // z x up, up = +z: to the right
  const double across = std::sqrt(x[0] * x[0] + x[1] * x[1]);
  for (double& e : x) e /= across;
  const double y[3] = {z[1] * x[2] - z[2] * x[1], z[2] * x[0] - z[0] * x[2], z[0] * x[1] - z[1] * x[0]};
  std::array<double, 16> m{};
  for (int i = 0; i < 3; ++i) m[4 * i] = x[i], m[4 * i + 1] = y[i], m[4 * i + 2] = z[i], m[4 * i + 3] = o[i];
  m[15] = 1;
  return m;
}

// Element by element, for a Slot's `value`: one camera after the other.
inline std::function<double(Rng&)> camera_to_world() {
  struct State {
    std::array<double, 16> m;
    int next = 16;
  };
  auto state = std::make_shared<State>();
  return [state](Rng& r) {
    if (state->next == 16) state->m = look_at(r), state->next = 0;
    return state->m[std::size_t(state->next++)];
  };
}
inline std::function<double(Rng&)> intrinsics(double height, double width) {
  auto next = std::make_shared<int>(0);
  return [=](Rng& r) {
    const int i = (*next)++ % 4;
    return i < 2 ? 1.07 * width * r.uniform(0.95, 1.05) : (i == 2 ? width : height) * r.uniform(0.48, 0.52);
  };
}

struct PosedCameras {
  std::int64_t batch, views;
  std::vector<double> c2w, fxfycxcy;
  ConstView c2w_view() const {
    return make_view(static_cast<const void*>(c2w.data()), {batch, views, 4, 4}, DType::f64);
  }
  ConstView k_view() const {
    return make_view(static_cast<const void*>(fxfycxcy.data()), {batch, views, 4}, DType::f64);
  }
};
inline PosedCameras make_camera(std::int64_t batch, std::int64_t views, double height, double width) {
  PosedCameras cam{batch, views, {}, {}};
  Rng rng(11, Draw::test);
  auto m = camera_to_world(), k = intrinsics(height, width);
  for (std::int64_t i = 0; i < batch * views * 16; ++i) cam.c2w.push_back(m(rng));
  for (std::int64_t i = 0; i < batch * views * 4; ++i) cam.fxfycxcy.push_back(k(rng));
  return cam;
}

}  // namespace mfl::test
