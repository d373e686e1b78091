// Losses on rendered images: clamp, mean squared error, SSIM, and the affine map in front of a perceptual network.
#include <cmath>

#include "kernels/loss/clamp.h"
#include "kernels/loss/mse.h"
#include "kernels/loss/normalize_image.h"
#include "kernels/loss/ssim.h"
#include "tests/support/op_case.h"
#include "tests/support/scalar.h"

namespace mfl::test {
namespace {

Slot image(const std::string& name, Shape shape) {
  return {name, shape, Role::accum, true, [](Rng& r) { return 0.5 + 0.3 * r.normal(); }};
}
// Colours and alpha alike are uniform: half of the pixels are foreground.
Slot target(Shape shape) {
  return {"target", shape, Role::fixed, false, [](Rng& r) { return double(r.uniform()); }, DType::f32};
}
Slot scalar(const std::string& name, bool differentiable) { return {name, {1}, Role::accum, differentiable}; }

OpCase clamp_case(std::int64_t n) {
  OpCase c;
  c.name = text('n', n);
  c.inputs = {{"x", {n}}};
  c.outputs = {{"y", {n}}};
  c.forward = [](Run& r) { clamp_fwd(r.stream, {.x = r["x"], .y = r["y"]}); };
  c.backward = [](Run& r) { clamp_bwd(r.stream, {.x = r["x"], .dy = r["dy"], .dx = r["dx"], .dx_mode = r.mode}); };
  c.bytes_fwd = 4 * double(n), c.bytes_bwd = 6 * double(n);
  return c;
}
std::vector<OpCase> clamp_cases() { return {clamp_case(1), clamp_case(129), clamp_case(4097)}; }

OpCase mse_case(std::int64_t m, std::int64_t h, std::int64_t w, std::int64_t channels, PixelSet set) {
  OpCase c;
  const char* sets[] = {"all", "foreground", "background"};
  c.name = text('M', m, "_H", h, "_W", w, "_c", channels, '_', sets[int(set)]);
  c.inputs = {image("render", {m, h, w, 3}), target({m, h, w, channels})};
  c.outputs = {scalar("loss", true), scalar("count", false)};
  c.forward = [=](Run& r) {
    mse_fwd(r.stream, {.render = r["render"], .target = r["target"], .pixels = set, .loss = r["loss"], .count = r["count"],
                       .scratch = r.scratch({mse_scratch(m * h * w)}, DType::f32)});
  };
  c.backward = [=](Run& r) {
    mse_bwd(r.stream, {.render = r["render"], .target = r["target"], .pixels = set, .count = r["count"],
                       .weight = host_value(r.stream, r["dloss"]), .drender = r["drender"], .drender_mode = r.mode});
  };
  c.bf16 = false;
  c.terms = double(3 * m * h * w);
  const double pixels = double(m * h * w);
  c.bytes_fwd = 4 * pixels * double(3 + channels), c.bytes_bwd = c.bytes_fwd + 24 * pixels;
  return c;
}
std::vector<OpCase> mse_cases() {
  std::vector<OpCase> cases;
  for (PixelSet set : {PixelSet::all, PixelSet::foreground, PixelSet::background})
    for (std::int64_t w : {1, 31, 67}) cases.push_back(mse_case(3, 13, w, 4, set));
  cases.push_back(mse_case(2, 33, 127, 3, PixelSet::all));
  OpCase real = mse_case(8, 512, 512, 4, PixelSet::foreground);
  real.bench_only = true;
  cases.push_back(real);
  return cases;
}

OpCase ssim_case(std::int64_t m, std::int64_t h, std::int64_t w, std::int64_t channels, bool masked) {
  OpCase c;
  c.name = text('M', m, "_H", h, "_W", w, "_c", channels, masked ? "_masked" : "");
  const Shape maps{3, m, h - kSsimTaps + 1, w - kSsimTaps + 1, 3};
  c.inputs = {image("render", {m, h, w, 3}), target({m, h, w, channels})};
  c.outputs = {scalar("loss", true), scalar("ssim", false), {"maps", maps, Role::accum, false}};
  c.forward = [=](Run& r) {
    ssim_fwd(r.stream, {.render = r["render"], .target = r["target"], .masked = masked, .loss = r["loss"],
                        .ssim = r["ssim"], .maps = r["maps"], .scratch = r.scratch({ssim_scratch(m, h, w)}, DType::f32)});
  };
  c.backward = [=](Run& r) {
    ssim_bwd(r.stream, {.render = r["render"], .target = r["target"], .masked = masked, .ssim = r["ssim"],
                        .maps = r["maps"], .weight = host_value(r.stream, r["dloss"]), .drender = r["drender"],
                        .drender_mode = r.mode});
  };
  c.bf16 = false;
  // The variances cancel: an error of eps in w*x^2 is divided by vx + vy + C2, here about 0.1 (0.0009 where the mask
  // leaves nothing to see); expressed as the square of the factor by which rounding grows.
  c.terms = masked ? 1e6 : 1e4;
  const double pixels = double(m * h * w);
  c.bytes_fwd = 4 * pixels * double(3 + channels + 9), c.bytes_bwd = 4 * pixels * double(3 + channels + 9 + 6);
  c.flops_fwd = 3 * pixels * 250, c.flops_bwd = 3 * pixels * 150;
  return c;
}
std::vector<OpCase> ssim_cases() {
  std::vector<OpCase> cases = {ssim_case(1, 11, 11, 3, false), ssim_case(2, 11, 43, 4, false), ssim_case(1, 42, 12, 4, true),
                               ssim_case(2, 43, 75, 4, true),  ssim_case(1, 53, 31, 3, false)};
  OpCase real = ssim_case(8, 512, 512, 4, true);
  real.bench_only = true;
  cases.push_back(real);
  return cases;
}

OpCase normalize_image_case(std::int64_t n, std::int64_t h, std::int64_t w) {
  OpCase c;
  c.name = text('N', n, "_H", h, "_W", w);
  const std::array<double, 3> scale{255, -2, 0.5}, offset{-123.68, 1, 0};
  c.inputs = {image("image", {n, h, w, 3})};
  c.outputs = {{"y", {n, h, w, 3}}};
  c.forward = [=](Run& r) {
    normalize_image_fwd(r.stream, {.image = r["image"], .scale = scale, .offset = offset, .y = r["y"]});
  };
  c.backward = [=](Run& r) {
    normalize_image_bwd(r.stream, {.dy = r["dy"], .scale = scale, .dimage = r["dimage"], .dimage_mode = r.mode});
  };
  c.bytes_fwd = 18 * double(n * h * w), c.bytes_bwd = 18 * double(n * h * w);
  return c;
}
std::vector<OpCase> normalize_image_cases() { return {normalize_image_case(1, 1, 1), normalize_image_case(2, 13, 31),
                                                           bench_only(normalize_image_case(8, 512, 512))}; }

}  // namespace
MFL_OP_TESTS(Clamp, clamp_cases)
MFL_OP_TESTS(Mse, mse_cases)
MFL_OP_TESTS(Ssim, ssim_cases)
MFL_OP_TESTS(NormalizeImage, normalize_image_cases)

namespace {

struct Images {
  Stream s = Stream::create(kCpu, "test");
  Tensor render, target, loss = Tensor::on_heap({1}, DType::f64), other = Tensor::on_heap({1}, DType::f64);
  Images(std::int64_t m, std::int64_t h, std::int64_t w)
      : render(Tensor::on_heap({m, h, w, 3}, DType::f64)), target(Tensor::on_heap({m, h, w, 4}, DType::f32)) {
    Rng rng(7, Draw::test);
    for (std::int64_t i = 0; i < render.numel(); ++i) render.data<double>()[i] = rng.uniform();
    for (std::int64_t i = 0; i < target.numel(); ++i) target.data<float>()[i] = rng.uniform();
  }
  double mse(PixelSet set) {
    mse_fwd(s, {.render = render, .target = target, .pixels = set, .loss = loss, .count = other});
    return loss.data<double>()[0];
  }
  double ssim(bool masked) {
    ssim_fwd(s, {.render = render, .target = target, .masked = masked, .loss = loss, .ssim = other});
    return other.data<double>()[0];
  }
};

TEST(Mse, ForegroundAndBackgroundShareTheSquaredError) {
  Images i(2, 5, 7);
  const double all = i.mse(PixelSet::all) * 3 * 70;
  const double inside = i.mse(PixelSet::foreground) * 3 * i.other.data<double>()[0];
  const double outside = i.mse(PixelSet::background) * 3 * i.other.data<double>()[0];
  EXPECT_NEAR(all, inside + outside, 1e-10);
}
TEST(Mse, IsZeroWithoutAForeground) {
  Images i(1, 3, 3);
  for (std::int64_t p = 0; p < 9; ++p) i.target.data<float>()[p * 4 + 3] = 0.5f;   // neither above nor below one half
  EXPECT_EQ(i.mse(PixelSet::foreground), 0);
  EXPECT_EQ(i.mse(PixelSet::background), 0);
}
TEST(Mse, AsksForAlphaWhereItIsNeeded) {
  Images i(1, 3, 3);
  i.target = Tensor::on_heap({1, 3, 3, 3}, DType::f32);
  EXPECT_THROW(i.mse(PixelSet::foreground), ShapeError);
}
TEST(Ssim, IsOneForEqualImages) {
  Images i(1, 16, 13);
  for (std::int64_t p = 0; p < 16 * 13; ++p)
    for (int c = 0; c < 3; ++c) i.render.data<double>()[p * 3 + c] = i.target.data<float>()[p * 4 + c];
  EXPECT_NEAR(i.ssim(false), 1, 1e-12);
  EXPECT_NEAR(i.ssim(true), 1, 1e-12);
}
TEST(Ssim, SeesNothingUnderTheMask) {
  Images i(1, 16, 13);
  for (std::int64_t p = 0; p < 16 * 13; ++p) i.target.data<float>()[p * 4 + 3] = 0;
  EXPECT_NEAR(i.ssim(true), 1, 1e-12);
}
TEST(Ssim, ClampStopsTheGradientBelowZero) {
  // Anticorrelated images have a negative SSIM.
  Images i(1, 16, 16);
  for (std::int64_t p = 0; p < 256; ++p)
    for (int c = 0; c < 3; ++c) i.render.data<double>()[p * 3 + c] = 1 - i.target.data<float>()[p * 4 + c];
  ASSERT_LT(i.ssim(false), 0);
  Tensor maps = Tensor::on_heap({3, 1, 6, 6, 3}, DType::f64), grad = Tensor::on_heap({1, 16, 16, 3}, DType::f64);
  ssim_fwd(i.s, {.render = i.render, .target = i.target, .clamp = true, .loss = i.loss, .ssim = i.other, .maps = maps});
  EXPECT_EQ(i.loss.data<double>()[0], 1);
  ssim_bwd(i.s, {.render = i.render, .target = i.target, .clamp = true, .ssim = i.other, .maps = maps, .drender = grad,
                 .drender_mode = GradMode::overwrite});
  for (std::int64_t k = 0; k < grad.numel(); ++k) ASSERT_EQ(grad.data<double>()[k], 0);
}
TEST(Ssim, NamesImagesThatAreSmallerThanItsWindow) {
  Images i(1, 16, 10);
  EXPECT_THROW(i.ssim(false), ShapeError);
}

}  // namespace
}  // namespace mfl::test
