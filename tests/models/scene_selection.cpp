// What of a scene is kept: the crop by outlines, and pruning by visibility.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "models/gslrm/filters.h"
#include "models/gslrm/renderer.h"
#include "models/gslrm/silhouette.h"
#include "models/gslrm/visibility.h"
#include "tests/support/op_case.h"
#include "tests/support/splat_scene.h"

namespace mfl::gslrm {
namespace {

Tensor host(Shape s, const std::vector<float>& values) {
  Tensor t = Tensor::on_heap(s, DType::f32);
  std::copy(values.begin(), values.end(), t.data<float>());
  return t;
}
struct Scene {
  test::SplatScene of;
  Gaussians gaussians;
  Cameras cameras;
  explicit Scene(int size, test::SceneKind kind = test::SceneKind::trained) : of(test::ring_scene(kind, size)) {
    const std::int64_t n = of.gaussians;
    gaussians = {host({n, 3}, of.xyz), host({n, 1, 3}, of.features), host({n, 3}, of.scaling), host({n, 4}, of.rotation), host({n, 1}, of.opacity)};
    cameras = {host({of.views, 4, 4}, of.c2w), host({of.views, 4}, of.fxfycxcy), size, size};
  }
};
double radius(const Gaussians& g, std::int64_t i) {
  const float* x = g.xyz.data<float>() + 3 * i;
  return std::sqrt(double(x[0] * x[0] + x[1] * x[1] + x[2] * x[2]));
}

// Outlines of the sphere of radius 0.6 round the origin, at which all cameras look from 2.7.
Tensor discs(const Scene& s, double r = 0.6) {
  const int size = s.cameras.height;
  Tensor out = Tensor::on_heap({s.of.views, size, size}, DType::u8);
  const double focal = double(s.of.fxfycxcy[0]), limit = focal * std::tan(std::asin(r / 2.7));
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    const double x = double(i % size) + 0.5 - size / 2.0, y = double(i / size % size) + 0.5 - size / 2.0;
    out.data<std::uint8_t>()[i] = std::hypot(x, y) <= limit;
  }
  return out;
}

TEST(Silhouettes, AreAlphaOrWhatDiffersFromTheBackground) {
  const Tensor rgba = host({1, 1, 3, 4}, {1, 1, 1, 0.6f, 0, 0, 0, 0.4f, 1, 1, 1, 1});
  const Tensor a = silhouettes(rgba, {1, 1, 1});
  EXPECT_EQ(a.data<std::uint8_t>()[0], 1);
  EXPECT_EQ(a.data<std::uint8_t>()[1], 0);
  EXPECT_EQ(a.data<std::uint8_t>()[2], 1);
  const Tensor b = silhouettes(host({1, 1, 3, 3}, {1, 1, 1, 0.6f, 1, 1, 0.8f, 1, 1}), {1, 1, 1});
  EXPECT_EQ(b.data<std::uint8_t>()[0], 0);
  EXPECT_EQ(b.data<std::uint8_t>()[1], 1);
  EXPECT_EQ(b.data<std::uint8_t>()[2], 0);
}

TEST(Silhouettes, TheVisualHullOfASphereHoldsItAndLittleElse) {
  const Scene s(64);
  SilhouetteCounts counts;
  const auto mask = inside_silhouettes(s.gaussians, s.cameras, discs(s), {.share = 1, .dilation = 2}, &counts);
  std::int64_t kept = 0, wrong = 0;
  for (std::int64_t i = 0; i < s.of.gaussians; ++i) {
    kept += mask[std::size_t(i)];
    if (radius(s.gaussians, i) < 0.6) {
      EXPECT_TRUE(mask[std::size_t(i)]) << i;
    }
    wrong += radius(s.gaussians, i) > 0.75 && mask[std::size_t(i)];
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(counts.before, s.of.gaussians);
  EXPECT_EQ(counts.kept, kept);
  EXPECT_LT(kept, s.of.gaussians / 2);
  ASSERT_EQ(counts.outside.size(), 8u);
  for (std::int64_t outside : counts.outside) EXPECT_GT(outside, 0);
}

TEST(Silhouettes, AShareForgivesAViewThatIsWrong) {
  const Scene s(32);
  Tensor outlines = discs(s);
  std::fill_n(outlines.data<std::uint8_t>(), 32 * 32, std::uint8_t{0});   // view 0 sees no animal
  SilhouetteCounts strict, forgiving;
  inside_silhouettes(s.gaussians, s.cameras, outlines, {.share = 1, .dilation = 2}, &strict);
  const auto mask = inside_silhouettes(s.gaussians, s.cameras, outlines, {.share = 7.0 / 8, .dilation = 2}, &forgiving);
  EXPECT_EQ(strict.kept, 0);
  for (std::int64_t i = 0; i < s.of.gaussians; ++i)
    if (radius(s.gaussians, i) < 0.6) {
      EXPECT_TRUE(mask[std::size_t(i)]) << i;
    }
}

TEST(Silhouettes, WhatNoViewSeesIsDroppedAndCounted) {
  Scene s(32);
  for (int e = 0; e < 3; ++e) s.gaussians.xyz.data<float>()[3 * 7 + e] = e == 2 ? 50.0f : 0.0f;
  SilhouetteCounts counts;
  const auto mask = inside_silhouettes(s.gaussians, s.cameras, discs(s, 2), {}, &counts);
  EXPECT_EQ(counts.unseen, 1);
  EXPECT_EQ(mask[7], 0);
}

TEST(Silhouettes, DilationIsSoManyPixelsInXAndY) {
  // One camera at the origin that looks along z; a Gaussian on each pixel of a row and of a column, the outline one pixel.
  const Cameras k{host({1, 4, 4}, {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}), host({1, 4}, {10, 10, 10, 10}), 20, 20};
  Tensor outline = Tensor::on_heap({1, 20, 20}, DType::u8);
  std::fill_n(outline.data<std::uint8_t>(), 400, std::uint8_t{0});
  outline.data<std::uint8_t>()[20 * 10 + 10] = 1;
  std::vector<float> xyz;
  for (int i = 0; i < 20; ++i)
    for (float x : {(float(i) - 9.5f) / 10, 0.05f, 1.0f, 0.05f, (float(i) - 9.5f) / 10, 1.0f}) xyz.push_back(x);
  const Gaussians g{host({40, 3}, xyz), host({40, 1, 3}, std::vector<float>(120)), host({40, 3}, std::vector<float>(120)),
                    host({40, 4}, std::vector<float>(160)), host({40, 1}, std::vector<float>(40))};
  const auto mask = inside_silhouettes(g, k, outline, {.share = 1, .dilation = 3});
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(mask[std::size_t(2 * i)], std::abs(i - 10) <= 3) << i;
    EXPECT_EQ(mask[std::size_t(2 * i + 1)], std::abs(i - 10) <= 3) << i;
  }
}

struct OnDevice {
  Stream stream;
  Arena arena, render_arena;
  Ctx cx;
  explicit OnDevice(Device d = kCpu)
      : stream(Stream::create(d, "test")),
        arena(d, std::size_t{4} << 30, "test"),
        render_arena(d, std::size_t{8} << 30, "render"),
        cx{.stream = stream, .arena = arena, .precision = Precision::of(DType::f32), .saving = false} {}
  Gaussians upload(const Gaussians& g) {
    auto one = [&](const Tensor& t) {
      Tensor d = Tensor::on_heap(t.shape(), DType::f32, stream.device());
      copy(stream, t, d);
      stream.synchronize();
      return d;
    };
    return {one(g.xyz), one(g.features), one(g.scaling), one(g.rotation), one(g.opacity)};
  }
  std::vector<float> render(const Gaussians& g, const Cameras& k) {
    Renderer::Saved saved;
    const Tensor image = Renderer{}.forward(cx, render_arena, g, k, saved);
    return {image.data<float>(), image.data<float>() + image.numel()};
  }
};

TEST(Visibility, WhatIsHiddenIsPrunedAndThePicturesStay) {
  Scene s(64);
  // A cloud in the middle of the opaque shell: nobody sees it.
  const std::int64_t hidden = 400;
  for (std::int64_t i = 0; i < hidden; ++i) {
    for (int e = 0; e < 3; ++e) s.gaussians.xyz.data<float>()[3 * i + e] = 0.1f * std::sin(float(3 * i + e));
    s.gaussians.opacity.data<float>()[i] = 2;
  }
  for (std::int64_t i = hidden; i < s.of.gaussians; ++i)   // no haze: of many faint ones each is nothing, and all are something
    if (s.gaussians.opacity.data<float>()[i] < 0) s.gaussians.opacity.data<float>()[i] = -9;
  for (std::int64_t i = hidden; i < s.of.gaussians; ++i)
    for (int e = 0; e < 3; ++e) s.gaussians.scaling.data<float>()[3 * i + e] = -3.5f;
  OnDevice d;
  const Visibility v = visibility(d.cx, d.render_arena, s.gaussians, s.cameras);
  const auto mask = visible_mask(v);
  std::int64_t left = 0;
  for (std::int64_t i = 0; i < hidden; ++i) left += mask[std::size_t(i)];
  EXPECT_LT(left, hidden / 20);
  const std::int64_t kept = std::count(mask.begin(), mask.end(), std::uint8_t{1});
  EXPECT_GT(kept, 1000);
  const auto before = d.render(s.gaussians, s.cameras), after = d.render(select(s.gaussians, mask), s.cameras);
  double error = 0;
  for (std::size_t i = 0; i < before.size(); ++i) error += double(before[i] - after[i]) * double(before[i] - after[i]);
  EXPECT_GT(-10 * std::log10(error / double(before.size())), 45);
}

TEST(Visibility, ViewsAddUpAndPeaksDoNot) {
  const Scene s(32);
  OnDevice d;
  const Cameras first{s.cameras.c2w.rows(0, 3), s.cameras.fxfycxcy.rows(0, 3), 32, 32}, rest{s.cameras.c2w.rows(3, 5), s.cameras.fxfycxcy.rows(3, 5), 32, 32};
  const Visibility all = visibility(d.cx, d.render_arena, s.gaussians, s.cameras);
  const Visibility sum = joined(visibility(d.cx, d.render_arena, s.gaussians, first), visibility(d.cx, d.render_arena, s.gaussians, rest));
  EXPECT_EQ(all.peak, sum.peak);
  double most = 0;
  for (std::size_t i = 0; i < all.total.size(); ++i) {
    EXPECT_NEAR(all.total[i], sum.total[i], 1e-5f * (1 + all.total[i]));
    EXPECT_LE(all.peak[i], 0.99f);
    EXPECT_LE(all.peak[i], all.total[i] + 1e-6f);
    most = std::max(most, double(all.peak[i]));
  }
  EXPECT_GT(most, 0.5);
  EXPECT_EQ(d.render_arena.live_bytes(), 0u);
  EXPECT_EQ(d.arena.live_bytes(), 0u);
}

TEST(Visibility, NothingIsSeenOfAnEmptyScene) {
  OnDevice d;
  const Scene s(16);
  const Gaussians none = select(s.gaussians, std::vector<std::uint8_t>(std::size_t(s.of.gaussians), 0));
  EXPECT_TRUE(visibility(d.cx, d.render_arena, none, s.cameras).total.empty());
}

TEST(Visibility, CudaMatchesTheOracleAndItself) {
  MFL_SKIP_WITHOUT_CUDA();
  const Scene s(64);
  OnDevice cpu, gpu(Device{DeviceKind::cuda, 0});
  const Visibility ref = visibility(cpu.cx, cpu.render_arena, s.gaussians, s.cameras);
  const Gaussians there = gpu.upload(s.gaussians);
  const Visibility out = visibility(gpu.cx, gpu.render_arena, there, s.cameras), again = visibility(gpu.cx, gpu.render_arena, there, s.cameras);
  EXPECT_EQ(out.total, again.total);
  EXPECT_EQ(out.peak, again.peak);
  std::size_t outside = 0;
  for (std::size_t i = 0; i < ref.total.size(); ++i)
    outside += std::abs(ref.total[i] - out.total[i]) > 1e-3f * (1 + ref.total[i]) || std::abs(ref.peak[i] - out.peak[i]) > 1e-3f;
  EXPECT_LE(outside, ref.total.size() / 100);
}

}  // namespace
}  // namespace mfl::gslrm
