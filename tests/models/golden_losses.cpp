// The image losses and the loss networks against PyTorch: small vectors with gradients (tests/golden/make_loss.py, f64), and
// the loss terms of the published trainer's first step (gslrm_losses).
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/loss/mse.h"
#include "kernels/loss/ssim.h"
#include "models/perceptual/lpips.h"
#include "models/perceptual/perceptual.h"
#include "runtime/io/safetensors.h"
#include "runtime/io/torch_file.h"
#include "tests/support/op_case.h"
#include "tests/support/shared_files.h"

namespace mfl::perceptual {
namespace {

using test::own_golden;

// One value in host memory and its gradient to the render against the file's.
class Vectors {
 public:
  explicit Vectors(const char* file) : file_(own_golden(file)), images_(own_golden("loss.safetensors")) {}
  Tensor render() const { return images_.load("render", DType::f64); }
  Tensor target() const { return images_.load("target", DType::f32); }
  const io::SafetensorsFile& file() const { return file_; }

  void expect(const std::string& name, const Tensor& loss, const Tensor& gradient, double relative) const {
    const double expected = file_.load(name).data<double>()[0];
    EXPECT_NEAR(loss.data<double>()[0], expected, relative * std::abs(expected)) << name;
    const Tensor g = file_.load(name + ".grad");
    ASSERT_EQ(g.shape(), gradient.shape());
    double scale = 0;
    for (std::int64_t i = 0; i < g.numel(); ++i) scale = std::max(scale, std::abs(g.data<double>()[i]));
    for (std::int64_t i = 0; i < g.numel(); ++i)
      ASSERT_NEAR(gradient.data<double>()[i], g.data<double>()[i], relative * scale) << name << ".grad " << i;
  }

 private:
  io::SafetensorsFile file_, images_;
};

Tensor one() { return Tensor::on_heap({1}, DType::f64); }

TEST(GoldenVectors, SquaredErrors) {
  const Vectors v("loss.safetensors");
  const Stream s = Stream::create(kCpu, "test");
  const Tensor render = v.render(), target = v.target();
  for (auto [name, set] : {std::pair{"mse", PixelSet::all}, {"mse_foreground", PixelSet::foreground},
                           {"mse_background", PixelSet::background}}) {
    Tensor loss = one(), count = one(), gradient = Tensor::on_heap(render.shape(), DType::f64);
    mse_fwd(s, {.render = render, .target = target, .pixels = set, .loss = loss, .count = count});
    mse_bwd(s, {.render = render, .target = target, .pixels = set, .count = count, .drender = gradient,
                .drender_mode = GradMode::overwrite});
    v.expect(name, loss, gradient, 1e-12);
  }
}

// PyTorch's window is rounded to f32.
TEST(GoldenVectors, Ssim) {
  const Vectors v("loss.safetensors");
  const Stream s = Stream::create(kCpu, "test");
  const Tensor render = v.render(), target = v.target();
  const std::int64_t h = render.shape()[1] - 10, w = render.shape()[2] - 10;
  for (bool masked : {false, true}) {
    Tensor loss = one(), ssim = one(), gradient = Tensor::on_heap(render.shape(), DType::f64),
           maps = Tensor::on_heap({3, 1, h, w, 3}, DType::f64);
    ssim_fwd(s, {.render = render, .target = target, .masked = masked, .loss = loss, .ssim = ssim, .maps = maps});
    ssim_bwd(s, {.render = render, .target = target, .masked = masked, .ssim = ssim, .maps = maps, .drender = gradient,
                 .drender_mode = GradMode::overwrite});
    v.expect(masked ? "ssim_masked" : "ssim", loss, gradient, 1e-5);
  }
}

// A loss network with formula weights in a store of its own.
template <class Loss>
struct Network {
  Stream s;
  Arena weights, arena;
  ParamStore store;
  Loss loss;
  Ctx cx;

  Network(Device device, DType compute, std::uint32_t seed)
      : s(Stream::create(device, "test")), weights(device, std::size_t{1} << 30, "weights"),
        arena(device, std::size_t{4} << 30, "activations"), store(weights, Precision{accum_of(compute), accum_of(compute)}, false),
        loss(Scope{store, std::string(Loss::kScope)}), cx{.stream = s, .arena = arena, .precision = Precision::of(compute)} {
    store.seal(s);
    fill_formula_weights(s, loss.trunk(), seed);
  }
  static DType accum_of(DType compute) { return Precision::of(compute).accum; }
  void prepare() { loss.prepare(s, weights, cx.precision.compute); }
};

TEST(GoldenVectors, Lpips) {
  const Vectors v("loss_networks.safetensors");
  Network<LpipsLoss> net(kCpu, DType::f64, 16);
  net.loss.set_heads(net.s, [&](const std::string& name) { return v.file().load(name); });
  net.prepare();
  Tensor loss = one(), gradient = Tensor::on_heap(v.render().shape(), DType::f64);
  fill_zero(net.s, gradient);
  net.loss.run(net.cx, v.render(), v.target(), 1, loss, gradient);
  v.expect("lpips", loss, gradient, 1e-9);
}

TEST(GoldenVectors, Perceptual) {
  const Vectors v("loss_networks.safetensors");
  Network<PerceptualLoss> net(kCpu, DType::f64, 19);
  net.prepare();
  Tensor loss = one(), gradient = Tensor::on_heap(v.render().shape(), DType::f64);
  fill_zero(net.s, gradient);
  net.loss.run(net.cx, v.render(), v.target(), 1, loss, gradient);
  v.expect("perceptual", loss, gradient, 1e-9);
}

// ---- the published trainer's first step ----

// [1, V, C, H, W] of a file as [V, H, W, C].
Tensor channels_last(const Tensor& t) {
  const std::int64_t views = t.shape()[1], channels = t.shape()[2], pixels = t.shape()[3] * t.shape()[4];
  Tensor out = Tensor::on_heap({views, t.shape()[3], t.shape()[4], channels}, DType::f32);
  for (std::int64_t v = 0; v < views; ++v)
    for (std::int64_t c = 0; c < channels; ++c)
      for (std::int64_t p = 0; p < pixels; ++p)
        out.data<float>()[(v * pixels + p) * channels + c] = t.data<float>()[(v * channels + c) * pixels + p];
  return out;
}

void first_step_losses_match(Device device, DType compute, double relative) {
  const auto folder = test::golden_folder() / "gslrm_losses", heads = test::shared_data_folder() / "facelift_sample/lpips_v0.1/vgg.pth";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no golden case at " << folder;
  if (!std::filesystem::exists(heads)) GTEST_SKIP() << "no LPIPS heads at " << heads;
  std::ifstream in(folder / "trace.json");
  const auto step = nlohmann::json::parse(in)[0];
  const io::SafetensorsFile file(folder / "expected.safetensors");
  const Tensor host_render = channels_last(file.load("render")), host_target = channels_last(file.load("image"));

  auto on_device = [&](const Stream& s, const Tensor& host) {
    Tensor t = Tensor::on_heap(host.shape(), DType::f32, device);
    copy(s, host, t);
    return t;
  };
  auto check = [&](const Stream& s, const char* name, const Tensor& loss, double tolerance) {
    Tensor host = Tensor::on_heap({1}, DType::f32);
    copy(s, loss, host);
    s.synchronize();
    const double expected = step[name].get<double>(), value = host.data<float>()[0];
    EXPECT_NEAR(value, expected, tolerance * expected) << name;
    ::testing::Test::RecordProperty(name, testing::PrintToString((value - expected) / expected));
  };
  {
    const Stream s = Stream::create(device, "test");
    const Tensor render = on_device(s, host_render), target = on_device(s, host_target);
    const Shape& r = render.shape();
    Tensor loss = Tensor::on_heap({1}, DType::f32, device), other = Tensor::on_heap({1}, DType::f32, device);
    Tensor scratch = Tensor::on_heap({mse_scratch(r.rows())}, DType::f32, device);
    mse_fwd(s, {.render = render, .target = target, .loss = loss, .count = other, .scratch = scratch});
    check(s, "l2_loss", loss, 1e-5);
    scratch = Tensor::on_heap({ssim_scratch(r[0], r[1], r[2])}, DType::f32, device);
    ssim_fwd(s, {.render = render, .target = target, .loss = loss, .ssim = other, .scratch = scratch});
    check(s, "ssim_loss", loss, 3e-5);   // the published value carries the f32 noise of its variances on white
  }
  {
    Network<LpipsLoss> net(device, compute, 16);
    const io::Value root = io::read_torch_file(heads);
    net.loss.set_heads(net.s, [&](const std::string& name) { return io::load(root.at(name).tensor(), name); });
    net.prepare();
    Tensor loss = Tensor::on_heap({1}, DType::f32, device);
    net.loss.run(net.cx, on_device(net.s, host_render), on_device(net.s, host_target), 1, loss);
    check(net.s, "lpips_loss", loss, relative);
  }
  {
    Network<PerceptualLoss> net(device, compute, 19);
    net.prepare();
    Tensor loss = Tensor::on_heap({1}, DType::f32, device);
    net.loss.run(net.cx, on_device(net.s, host_render), on_device(net.s, host_target), 1, loss);
    check(net.s, "perceptual_loss", loss, relative);
  }
}

TEST(Golden, FirstStepLossesMatchThePublishedTrainer) { first_step_losses_match(kCpu, DType::f32, 2e-5); }
TEST(Golden, FirstStepLossesMatchThePublishedTrainerOnCuda) {
  MFL_SKIP_WITHOUT_CUDA();
  first_step_losses_match(Device{DeviceKind::cuda, 0}, DType::f32, 1e-4);
}
// What the features' 8 bits of mantissa cost.
TEST(Golden, FirstStepLossesMatchThePublishedTrainerOnCudaInBf16) {
  MFL_SKIP_WITHOUT_CUDA();
  first_step_losses_match(Device{DeviceKind::cuda, 0}, DType::bf16, 2e-2);
}

}  // namespace
}  // namespace mfl::perceptual
