#include "models/gslrm/renderer.h"

#include <chrono>
#include <cmath>

#include "tests/support/compare.h"
#include "tests/support/op_case.h"
#include "tests/support/splat_scene.h"

namespace mfl::gslrm {
namespace {

using test::SceneKind;
using test::SplatScene;

Tensor upload(const Stream& s, Shape shape, const std::vector<float>& values, DType t) {
  Tensor host = Tensor::on_heap(shape, t), out = Tensor::on_heap(shape, t, s.device());
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (t == DType::f64)
      host.data<double>()[i] = double(values[i]);
    else
      host.data<float>()[i] = values[i];
  }
  copy(s, host, out);
  s.synchronize();
  return out;
}
std::vector<double> download(const Stream& s, const Tensor& t) {
  Tensor host = Tensor::on_heap(t.shape(), t.dtype());
  copy(s, t, host);
  s.synchronize();
  std::vector<double> out(std::size_t(t.numel()));
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = t.dtype() == DType::f64 ? host.data<double>()[i] : double(host.data<float>()[i]);
  return out;
}

// Gaussians of a scene in the order xyz, features, scaling, rotation, opacity; the image and its gradients.
struct Fixture {
  Stream stream;
  Arena arena, render_arena;
  Ctx cx;
  SplatScene scene;
  DType type;
  Cameras cameras;
  Fixture(const SplatScene& sc, Device d, DType t)
      : stream(Stream::create(d, "test")),
        arena(d, std::size_t{8} << 30, "test"),
        render_arena(d, std::size_t{16} << 30, "render"),
        cx{.stream = stream, .arena = arena, .precision = Precision::of(t)},
        scene(sc),
        type(t),
        cameras{upload(stream, {sc.views, 4, 4}, sc.c2w, t), upload(stream, {sc.views, 4}, sc.fxfycxcy, t), sc.size,
                sc.size} {}
  Gaussians gaussians() const {
    const std::int64_t n = scene.gaussians;
    return {upload(stream, {n, 3}, scene.xyz, type), upload(stream, {n, 1, 3}, scene.features, type),
            upload(stream, {n, 3}, scene.scaling, type), upload(stream, {n, 4}, scene.rotation, type),
            upload(stream, {n, 1}, scene.opacity, type)};
  }
  std::vector<float> weights() const {
    std::vector<float> w(std::size_t(scene.views) * std::size_t(scene.size) * std::size_t(scene.size) * 3);
    Rng rng(5, Draw::test);
    for (float& x : w) x = float(rng.normal());
    return w;
  }
  struct Out {
    std::vector<double> image, d[5];
  };
  Out run() {
    Renderer renderer;
    Renderer::Saved saved;
    const Gaussians g = gaussians();
    const Tensor image = renderer.forward(cx, render_arena, g, cameras, saved);
    const Tensor dimage = upload(stream, image.shape(), weights(), type);
    const Gaussians d = renderer.backward(cx, render_arena, std::move(saved), dimage);
    return {download(stream, image),
            {download(stream, d.xyz), download(stream, d.features), download(stream, d.scaling),
             download(stream, d.rotation), download(stream, d.opacity)}};
  }
};
constexpr const char* kNames[] = {"xyz", "features", "scaling", "rotation", "opacity"};

void expect_parity(const SplatScene& scene) {
  const auto ref = Fixture(scene, kCpu, DType::f32).run();
  Fixture cuda(scene, Device{DeviceKind::cuda, 0}, DType::f32);
  const auto out = cuda.run(), again = cuda.run();
  std::size_t outside = 0;
  for (std::size_t i = 0; i < ref.image.size(); ++i) outside += !(std::abs(ref.image[i] - out.image[i]) <= 1e-4);
  EXPECT_LE(outside, ref.image.size() / 1000) << "pixels that crossed a threshold";
  for (int e = 0; e < 5; ++e) EXPECT_TRUE(test::same_direction(kNames[e], out.d[e], ref.d[e], 5e-3)) << kNames[e];
  EXPECT_EQ(out.image, again.image);
  for (int e = 0; e < 5; ++e) EXPECT_EQ(out.d[e], again.d[e]) << kNames[e] << " differs between two runs";
}

TEST(Renderer, CudaMatchesTheOracleOnATrainedScene) {
  MFL_SKIP_WITHOUT_CUDA();
  expect_parity(test::ring_scene(SceneKind::trained, 64));
}
TEST(Renderer, CudaMatchesTheOracleOnAnInitialisedScene) {
  MFL_SKIP_WITHOUT_CUDA();
  expect_parity(test::ring_scene(SceneKind::initialised, 48));
}

TEST(Renderer, DryRunTouchesNothing) {
  const SplatScene scene = test::ring_scene(SceneKind::trained, 16);
  Stream s = Stream::create(kMeta, "test");
  Arena arena(kMeta, std::size_t{1} << 40, "test"), render_arena(kMeta, std::size_t{1} << 40, "render");
  Ctx cx{.stream = s, .arena = arena, .precision = Precision::of(DType::f32)};
  const std::int64_t n = scene.gaussians;
  const Gaussians g{arena.empty({n, 3}, DType::f32), arena.empty({n, 1, 3}, DType::f32),
                    arena.empty({n, 3}, DType::f32), arena.empty({n, 4}, DType::f32), arena.empty({n, 1}, DType::f32)};
  const Cameras k{arena.empty({8, 4, 4}, DType::f32), arena.empty({8, 4}, DType::f32), 16, 16};
  Renderer::Saved saved;
  const Tensor image = Renderer{}.forward(cx, render_arena, g, k, saved);
  EXPECT_EQ(image.shape(), (Shape{8, 16, 16, 3}));
  EXPECT_EQ(Renderer{}.backward(cx, render_arena, std::move(saved), image).xyz.shape(), g.xyz.shape());
  EXPECT_GT(render_arena.peak_bytes(), 0u);
  EXPECT_EQ(render_arena.live_bytes(), 0u);
}

TEST(Renderer, NeedsASavedForwardForItsBackward) {
  Fixture s(test::ring_scene(SceneKind::trained, 4), kCpu, DType::f32);
  s.cx.saving = false;
  Renderer::Saved saved;
  const Tensor image = Renderer{}.forward(s.cx, s.render_arena, s.gaussians(), s.cameras, saved);
  EXPECT_EQ(s.render_arena.live_bytes(), 0u);
  EXPECT_THROW(Renderer{}.backward(s.cx, s.render_arena, std::move(saved), image), ShapeError);
}

// The whole chain against a difference quotient, in f64, over few Gaussians that are well inside every threshold.
TEST(Renderer, GradientIsTheDerivative) {
  SplatScene scene = test::ring_scene(SceneKind::initialised, 4);
  scene.views = 3, scene.size = 40, scene.gaussians = 10;
  scene.c2w.resize(3 * 16), scene.fxfycxcy.clear();
  for (int v = 0; v < 3; ++v)
    for (float k : {43.0f, 45.0f, 19.0f, 22.5f}) scene.fxfycxcy.push_back(k);
  // The two free Gaussians lie at one point; their order would be another one after any step.
  auto ten = [](std::vector<float>& x, std::ptrdiff_t each) { x = {x.begin() + 2 * each, x.begin() + 12 * each}; };
  ten(scene.xyz, 3), ten(scene.features, 3), ten(scene.scaling, 3), ten(scene.rotation, 4), ten(scene.opacity, 1);
  Fixture s(scene, kCpu, DType::f64);
  const auto at = s.run();
  const auto w = s.weights();
  Gaussians g = s.gaussians();
  Tensor* parts[5] = {&g.xyz, &g.features, &g.scaling, &g.rotation, &g.opacity};
  auto objective = [&] {
    Renderer::Saved saved;
    const auto image = download(s.stream, Renderer{}.forward(s.cx, s.render_arena, g, s.cameras, saved));
    double sum = 0;
    for (std::size_t i = 0; i < image.size(); ++i) sum += image[i] * double(w[i]);
    return sum;
  };
  for (int e = 0; e < 5; ++e) {
    Rng rng(9, Draw::test, 0, std::uint32_t(e));
    const std::size_t n = at.d[e].size();
    std::vector<double> u(n), x(parts[e]->data<double>(), parts[e]->data<double>() + n);
    double predicted = 0, scale = 0;
    for (std::size_t i = 0; i < n; ++i)
      u[i] = rng.normal(), predicted += u[i] * at.d[e][i], scale += at.d[e][i] * at.d[e][i];
    double value[2];
    for (int side = 0; side < 2; ++side) {
      for (std::size_t i = 0; i < n; ++i) parts[e]->data<double>()[i] = x[i] + (side ? 1e-7 : -1e-7) * u[i];
      value[side] = objective();
    }
    std::copy(x.begin(), x.end(), parts[e]->data<double>());
    EXPECT_NEAR(predicted, (value[1] - value[0]) / 2e-7, 1e-5 * std::sqrt(scale)) << kNames[e];
  }
}

}  // namespace
}  // namespace mfl::gslrm
