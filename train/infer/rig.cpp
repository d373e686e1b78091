#include "train/infer/rig.h"

#include <algorithm>

#include "models/mvdiffusion/prompts.h"

namespace mfl::infer {
namespace {

constexpr double kRadius = 2.7, kFov = 50, kFocal = 548.9937744140625 / 512;

gslrm::Cameras empty_cameras(std::size_t count, int side) {
  const auto n = static_cast<std::int64_t>(count);
  return {Tensor::on_heap({n, 4, 4}, DType::f32), Tensor::on_heap({n, 4}, DType::f32), side, side};
}

void put(const gslrm::Cameras& all, std::size_t i, const data::Mat4& c2w, const data::Camera& k) {
  std::transform(c2w.begin(), c2w.end(), all.c2w.data<float>() + 16 * i, [](double x) { return static_cast<float>(x); });
  float* f = all.fxfycxcy.data<float>() + 4 * i;
  f[0] = float(k.fx), f[1] = float(k.fy), f[2] = float(k.cx), f[3] = float(k.cy);
}

}  // namespace

gslrm::Cameras canonical_cameras(std::span<const int> slots, int side) {
  const gslrm::Cameras all = empty_cameras(slots.size(), side);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const double azimuth = -90.0 - mvdiffusion::kPromptSlots.at(static_cast<std::size_t>(slots[i])).azimuth;
    data::Camera k = data::ring_camera(azimuth, 0, kRadius, kFov, side);
    k.fx = k.fy = kFocal * side;
    put(all, i, data::rigid_inverse(k.w2c), k);
  }
  return all;
}

gslrm::Cameras posed_cameras(const std::vector<SizedCamera>& cameras, const std::optional<data::CameraNormalisation>& normalise,
                             const std::optional<data::Vec3>& up, int side) {
  std::vector<data::Camera> scaled;
  std::vector<data::Mat4> c2w;
  for (const SizedCamera& c : cameras) {
    scaled.push_back(data::scaled(c.camera, c.width, c.height, side, side));
    c2w.push_back(data::inverse(scaled.back().w2c));
  }
  if (normalise) data::normalise_cameras(c2w, *normalise, up);
  const gslrm::Cameras all = empty_cameras(cameras.size(), side);
  for (std::size_t i = 0; i < cameras.size(); ++i) put(all, i, c2w[i], scaled[i]);
  return all;
}

gslrm::Cameras part(const gslrm::Cameras& k, std::int64_t first, std::int64_t count) {
  return {k.c2w.rows(first, count), k.fxfycxcy.rows(first, count), k.height, k.width};
}

}  // namespace mfl::infer
