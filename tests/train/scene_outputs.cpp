// Cameras of turntables, the report on a scene, and metrics.json.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numbers>

#include "models/gslrm/filters.h"
#include "tests/support/splat_scene.h"
#include "tests/support/throws.h"
#include "train/infer/scene_metrics.h"
#include "train/infer/scene_report.h"
#include "train/infer/timings.h"
#include "train/turntable.h"

namespace mfl::infer {
namespace {

using nlohmann::json;
constexpr double kDegree = std::numbers::pi / 180;

gslrm::Cameras ring(const std::vector<double>& azimuths, double elevation = 20, double radius = 2.7) {
  const auto n = static_cast<std::int64_t>(azimuths.size());
  gslrm::Cameras k{Tensor::on_heap({n, 4, 4}, DType::f32), Tensor::on_heap({n, 4}, DType::f32), 48, 64};
  for (std::int64_t v = 0; v < n; ++v) {
    const auto m = test::ring_camera(azimuths[std::size_t(v)] * kDegree, elevation * kDegree, radius);
    std::copy(m.begin(), m.end(), k.c2w.data<float>() + 16 * v);
    for (int e = 0; e < 4; ++e) k.fxfycxcy.data<float>()[4 * v + e] = float(e < 2 ? 60 + 2 * v : e == 2 ? 32 : 24);
  }
  return k;
}
const float* pose(const gslrm::Cameras& k, std::int64_t v) { return k.c2w.data<float>() + 16 * v; }
// A rotation of determinant 1 whose forward axis goes through the point.
void expect_looks_at(const float* m, const std::array<double, 3>& point, double tolerance = 1e-5) {
  double away[3], length = 0;
  for (int r = 0; r < 3; ++r) away[r] = point[std::size_t(r)] - double(m[4 * r + 3]), length += away[r] * away[r];
  for (int r = 0; r < 3; ++r) EXPECT_NEAR(double(m[4 * r + 2]), away[r] / std::sqrt(length), tolerance);
  for (int a = 0; a < 3; ++a)
    for (int b = 0; b < 3; ++b) {
      double d = 0;
      for (int r = 0; r < 3; ++r) d += double(m[4 * r + a]) * double(m[4 * r + b]);
      EXPECT_NEAR(d, a == b, 1e-5);
    }
  EXPECT_NEAR(double(m[0] * (m[5] * m[10] - m[6] * m[9]) - m[1] * (m[4] * m[10] - m[6] * m[8]) + m[2] * (m[4] * m[9] - m[5] * m[8])), 1, 1e-5);
}

TEST(CameraPath, AnOrbitGoesRoundItsUpAxisAndItsCentre) {
  const Turntable t{.views = 7, .size = 40, .radius = 2, .elevation = 25, .up = {0.3, -2, 0.5}, .centre = {0.1, 0.2, -0.3}};
  const gslrm::Cameras k = turntable_cameras(t);
  const double norm = std::sqrt(0.3 * 0.3 + 4 + 0.25);
  for (std::int64_t v = 0; v < 7; ++v) {
    expect_looks_at(pose(k, v), t.centre);
    double height = 0, down = 0;
    for (int r = 0; r < 3; ++r) {
      const double up = t.up[std::size_t(r)] / norm;
      height += up * (double(pose(k, v)[4 * r + 3]) - t.centre[std::size_t(r)]), down += up * double(pose(k, v)[4 * r + 1]);
    }
    EXPECT_NEAR(height, 2 * std::sin(25 * kDegree), 1e-5);
    EXPECT_NEAR(down, -std::cos(25 * kDegree), 1e-5);
  }
  // Turned upside down, and by nothing at all.
  expect_looks_at(pose(turntable_cameras({.up = {0, 0, -1}}), 3), {0, 0, 0});
  const gslrm::Cameras plain = turntable_cameras({.views = 4});
  EXPECT_NEAR(pose(plain, 0)[7], -2.7f, 1e-5f);
  EXPECT_NEAR(pose(plain, 1)[3], 2.7f, 1e-5f);
}

TEST(CameraPath, TheRigsUpAndOrderAreThoseOfItsCameras) {
  const gslrm::Cameras k = ring({10, 250, 130, 310, 70, 190});
  const auto up = rig_up(k);
  EXPECT_NEAR(up[2], 1, 1e-5);
  EXPECT_EQ(ring_order(k, up), (std::vector<std::int64_t>{0, 4, 2, 5, 1, 3}));
  EXPECT_EQ(ring_order(k, {0, 0, -1}), (std::vector<std::int64_t>{0, 3, 1, 5, 2, 4}));
  gslrm::Cameras against = ring({0, 0});
  for (int r = 0; r < 3; ++r) against.c2w.data<float>()[16 + 4 * r + 1] *= -1, against.c2w.data<float>()[16 + 4 * r] *= -1;
  EXPECT_THROW(rig_up(against), DataError);
}

TEST(CameraPath, CamerasOfAnotherSizeSeeTheSame) {
  const gslrm::Cameras k = cameras_of_size(ring({0, 90, 180}), 128, {2, 0});
  EXPECT_EQ(k.width, 128);
  EXPECT_EQ(k.height, 96);
  EXPECT_EQ(k.c2w.shape()[0], 2);
  EXPECT_FLOAT_EQ(k.fxfycxcy.data<float>()[0], 128);
  EXPECT_FLOAT_EQ(k.fxfycxcy.data<float>()[2], 64);
  EXPECT_FLOAT_EQ(k.fxfycxcy.data<float>()[4], 120);
  EXPECT_LT(pose(k, 0)[3], 0);
}

TEST(CameraPath, AFilmPassesThroughItsKeysAtConstantSpeed) {
  const gslrm::Cameras keys = ring({0, 60, 120, 180, 240, 300});
  const gslrm::Cameras film = camera_path(keys, 60);
  EXPECT_EQ(film.height, 48);
  double least = 1e9, most = 0;
  for (int f = 0; f < 60; ++f) {
    const float *m = pose(film, f), *next = pose(film, (f + 1) % 60);
    expect_looks_at(m, {0, 0, 0});
    double step = 0, distance = 0;
    for (int r = 0; r < 3; ++r) step += std::pow(double(m[4 * r + 3] - next[4 * r + 3]), 2), distance += std::pow(double(m[4 * r + 3]), 2);
    EXPECT_NEAR(std::sqrt(distance), 2.7, 1e-4);
    least = std::min(least, step), most = std::max(most, step);
    for (int e = 0; e < 16 && f % 10 == 0; ++e) EXPECT_NEAR(m[e], pose(keys, f / 10)[e], 2e-4f) << f;
  }
  EXPECT_LT(most, 1.01 * least);
  EXPECT_NEAR(film.fxfycxcy.data<float>()[4 * 5], 61, 1e-3f);
  EXPECT_THROW(camera_path(ring({0}), 10), ShapeError);
}

// [V, 16, 16, C]: a gradient, alpha on the left half.
Tensor pictures(std::int64_t views, int channels, float shift) {
  Tensor t = Tensor::on_heap({views, 16, 16, channels}, DType::f32);
  for (std::int64_t p = 0; p < views * 256; ++p) {
    const bool left = p % 16 < 8;
    for (int c = 0; c < 3; ++c) t.data<float>()[p * channels + c] = left ? 0.2f + 0.02f * float(p / 16 % 16) + shift : 1.0f;
    if (channels == 4) t.data<float>()[p * channels + 3] = left;
  }
  return t;
}

TEST(SceneMetrics, MeansAreThoseOfTheirViewsAndGroupsAreApart) {
  const SceneMetrics m = scene_metrics({.render = pictures(3, 3, 0.1f), .truth = pictures(3, 4, 0), .names = {"a", "b", "c"}, .is_input = {1, 0, 0}, .lpips = {0.1, 0.2, 0.4}});
  const json j = json::parse(m.json());
  ASSERT_EQ(j["views"].size(), 3u);
  EXPECT_NEAR(j["views"][0]["psnr_foreground"].get<double>(), 20, 1e-3);
  EXPECT_NEAR(j["views"][0]["psnr"].get<double>(), 20 + 10 * std::log10(2.0), 1e-3);
  EXPECT_EQ(j["views"][0]["mask_iou"], 1.0);
  EXPECT_NEAR(j["all"]["lpips"].get<double>(), 0.7 / 3, 1e-12);
  EXPECT_NEAR(j["held_out"]["lpips"].get<double>(), 0.3, 1e-12);
  EXPECT_NEAR(j["input"]["lpips"].get<double>(), 0.1, 1e-12);
  EXPECT_EQ(j["all"]["psnr_held_out"], j["held_out"]["psnr"]);
  EXPECT_FALSE(j["all"].contains("missing"));
  EXPECT_FALSE(j["input"].contains("psnr_held_out"));
}

TEST(SceneMetrics, WhatIsNullSaysWhy) {
  Tensor render = pictures(2, 3, 0);
  render.data<float>()[3 * 256 + 5] = std::numeric_limits<float>::quiet_NaN();
  const json j = json::parse(scene_metrics({.render = render, .truth = pictures(2, 3, 0), .names = {"a", "b"}, .is_input = {1, 1}, .lpips_missing = "no network was given"}).json());
  EXPECT_TRUE(j["views"][0]["psnr"].is_null());
  EXPECT_EQ(j["views"][0]["missing"]["psnr"], "the pictures are equal: it is infinite");
  EXPECT_EQ(j["views"][0]["missing"]["mask_iou"], "the truth has no alpha");
  EXPECT_EQ(j["views"][1]["missing"]["psnr"], "the pictures hold values that are no numbers");
  EXPECT_EQ(j["views"][0]["missing"]["lpips"], "no network was given");
  EXPECT_TRUE(j["all"]["lpips"].is_null());
  EXPECT_EQ(j["all"]["missing"]["psnr_held_out"], "every view was an input");
  EXPECT_FALSE(j.contains("held_out"));
}

TEST(SceneReport, CountsHistogramsAndPictures) {
  gslrm::Gaussians g{Tensor::on_heap({4, 3}, DType::f32), Tensor::on_heap({4, 1, 3}, DType::f32), Tensor::on_heap({4, 3}, DType::f32), Tensor::on_heap({4, 4}, DType::f32),
                     Tensor::on_heap({4, 1}, DType::f32)};
  for (const Tensor* t : {&g.xyz, &g.features, &g.rotation}) std::fill_n(t->data<float>(), t->numel(), 1.0f);
  const float logit[] = {-5, 0.1f, 5, 60}, scale[] = {1e-5f, 2e-3f, 0.06f, 4};
  for (int i = 0; i < 4; ++i) {
    g.opacity.data<float>()[i] = logit[i];
    for (int e = 0; e < 3; ++e) g.scaling.data<float>()[3 * i + e] = std::log(scale[i]) - float(e);
  }
  SceneReport r(g, 2);
  r.step("filters", gslrm::select(g, {0, 1, 1, 1}));
  r.step("visibility", gslrm::select(g, {0, 1, 1, 0}));
  r.silhouette({.before = 4, .kept = 3, .unseen = 1, .outside = {0, 2}});
  r.pictures(pictures(2, 3, 0), pictures(2, 3, 0.1f), pictures(2, 4, 0));
  const json j = json::parse(r.json());
  EXPECT_EQ(j["steps"][0]["gaussians"], 4);
  EXPECT_EQ(j["steps"][2]["name"], "visibility");
  EXPECT_EQ(j["steps"][2]["share"], 0.5);
  EXPECT_EQ(j["opacity"]["before"], (json{1, 0, 0, 0, 0, 1, 0, 0, 0, 2}));
  EXPECT_EQ(j["opacity"]["after"], (json{0, 0, 0, 0, 0, 1, 0, 0, 0, 1}));
  EXPECT_EQ(j["size"]["before"], (json{1, 0, 0, 0, 1, 0, 0, 1, 0, 1}));   // 2e-5, 4e-3, 0.12, 8
  EXPECT_EQ(j["silhouettes"]["outside"], (json{0, 2}));
  EXPECT_NEAR(j["pictures"]["psnr_of_change"].get<double>(), 20 + 10 * std::log10(2.0), 1e-3);
  EXPECT_TRUE(j["pictures"]["psnr_before"].is_null());
  EXPECT_NE(r.table().find("visibility"), std::string::npos);
  r.pictures(pictures(2, 3, 0), pictures(2, 3, 0));
  EXPECT_EQ(json::parse(r.json())["pictures"]["equal"], true);
}

TEST(InferTimings, AnImageIsAPlyAfterBothStagesWithoutWhatComesLater) {
  Timings t;
  t.add(Phase::load, 9), t.add(Phase::sampling, 4), t.add(Phase::gaussians, 0.5), t.add(Phase::ply, 0.25), t.add(Phase::viewer, 7);
  t.views(2), t.scenes(1);
  EXPECT_DOUBLE_EQ(t.to_ply(), 2 + 0.5 + 0.25);
  const json j = json::parse(t.json());
  EXPECT_EQ(j["image_to_ply"], 2.75);
  EXPECT_EQ(j["seconds_an_object"]["sampling"], 2);
  EXPECT_EQ(j["load"], 9);
  EXPECT_FALSE(j["seconds_an_object"].contains("measure"));
  EXPECT_NE(t.text().find("an image is a PLY 2.75 s later"), std::string::npos) << t.text();
}

}  // namespace
}  // namespace mfl::infer
