// The frozen loss networks: gradients in f64, chunking, memory, and what validation runs without a gradient.
#include <gtest/gtest.h>

#include <cmath>

#include "models/perceptual/lpips.h"
#include "models/perceptual/perceptual.h"
#include "runtime/rng.h"

namespace mfl::perceptual {
namespace {

// A store, an arena and both networks in f64 on the CPU.
template <class Loss>
struct Network {
  Stream s = Stream::create(kCpu, "test");
  Arena weights{kCpu, std::size_t{1} << 30, "weights"}, arena{kCpu, std::size_t{1} << 31, "activations"};
  ParamStore store{weights, Precision::of(DType::f64), false};
  Loss loss;
  Ctx cx{.stream = s, .arena = arena, .precision = Precision::of(DType::f64)};

  explicit Network(int chunk = 4) : loss(Scope{store, std::string(Loss::kScope)}, chunk) {
    store.seal(s);
    fill_formula_weights(s, loss.trunk(), 19);
    if constexpr (requires { loss.head(0); })
      loss.set_heads(s, [&](const std::string& name) {
        const Param& head = loss.head(name[3] - '0');
        Tensor t = Tensor::on_heap(head.shape, DType::f64);
        Rng rng(3, Draw::test);
        for (std::int64_t i = 0; i < t.numel(); ++i) t.data<double>()[i] = rng.uniform();
        return t;
      });
    loss.prepare(s, weights, DType::f64);
  }
  double run(const Tensor& render, const Tensor& target, double weight = 1, View drender = {}) {
    Tensor out = Tensor::on_heap({1}, DType::f64);
    loss.run(cx, render, target, weight, out, drender);
    return out.data<double>()[0];
  }
};

template <class T>
Tensor images(Shape shape, DType t, std::uint64_t seed) {
  Tensor out = Tensor::on_heap(shape, t);
  Rng rng(seed, Draw::test);
  for (std::int64_t i = 0; i < out.numel(); ++i) out.data<T>()[i] = T(rng.uniform());
  return out;
}

template <class Loss>
void gradient_is_the_derivative() {
  Network<Loss> net(1);
  const Shape shape{1, 17, 16, 3};
  const Tensor render = images<double>(shape, DType::f64, 1), target = images<float>({1, 17, 16, 4}, DType::f32, 2);
  Tensor gradient = Tensor::on_heap(shape, DType::f64);
  for (std::int64_t i = 0; i < gradient.numel(); ++i) gradient.data<double>()[i] = 0.25;
  net.run(render, target, 3, gradient);
  EXPECT_EQ(net.arena.live_bytes(), 0u);
  const double step = 1e-6;
  for (std::uint32_t direction = 0; direction < 2; ++direction) {
    Tensor plus = Tensor::on_heap(shape, DType::f64), minus = Tensor::on_heap(shape, DType::f64);
    Rng rng(5, Draw::test, direction);
    double predicted = 0, scale = 0;
    for (std::int64_t i = 0; i < render.numel(); ++i) {
      const double u = rng.normal(), g = gradient.data<double>()[i] - 0.25;   // added to what was there
      predicted += g * u, scale += g * g;
      plus.data<double>()[i] = render.data<double>()[i] + step * u;
      minus.data<double>()[i] = render.data<double>()[i] - step * u;
    }
    const double measured = 3 * (net.run(plus, target) - net.run(minus, target)) / (2 * step);
    EXPECT_GT(scale, 0);
    EXPECT_NEAR(predicted, measured, 1e-5 * std::max(std::sqrt(scale), std::abs(measured))) << "direction " << direction;
  }
}

TEST(Lpips, GradientIsTheDerivative) { gradient_is_the_derivative<LpipsLoss>(); }
TEST(Perceptual, GradientIsTheDerivative) { gradient_is_the_derivative<PerceptualLoss>(); }

template <class Loss>
void chunks_do_not_matter() {
  const Shape shape{2, 16, 16, 3};
  const Tensor render = images<double>(shape, DType::f64, 1), target = images<float>(shape, DType::f32, 2);
  Tensor one = Tensor::on_heap(shape, DType::f64), all = Tensor::on_heap(shape, DType::f64);
  std::fill_n(one.data<double>(), one.numel(), 0.0);
  std::fill_n(all.data<double>(), all.numel(), 0.0);
  Network<Loss> single(1), pairs(2);
  const double a = single.run(render, target, 1, one), b = pairs.run(render, target, 1, all);
  EXPECT_NEAR(a, b, 1e-12 * std::abs(a));
  EXPECT_GT(a, 0);
  for (std::int64_t i = 0; i < one.numel(); ++i) ASSERT_NEAR(one.data<double>()[i], all.data<double>()[i], 1e-12);
  EXPECT_LT(single.arena.peak_bytes(), pairs.arena.peak_bytes());
  // The value alone is the same and holds less.
  pairs.arena.begin_step();
  EXPECT_EQ(pairs.run(render, target), b);
  EXPECT_LT(pairs.arena.step_peak_bytes(), pairs.arena.peak_bytes());
}
TEST(Lpips, ChunksDoNotMatter) { chunks_do_not_matter<LpipsLoss>(); }
TEST(Perceptual, ChunksDoNotMatter) { chunks_do_not_matter<PerceptualLoss>(); }

TEST(Lpips, IsZeroForEqualImages) {
  Network<LpipsLoss> net;
  const Tensor target = images<float>({1, 16, 16, 3}, DType::f32, 2);
  Tensor render = Tensor::on_heap({1, 16, 16, 3}, DType::f64);
  for (std::int64_t i = 0; i < render.numel(); ++i) render.data<double>()[i] = double(target.data<float>()[i]);
  EXPECT_EQ(net.run(render, target), 0);
}

// Names, shapes and counts of the published checkpoint.
TEST(Lpips, ParametersAreTheCheckpoints) {
  Arena arena(kMeta, std::size_t{1} << 32, "meta");
  ParamStore store(arena, Precision{}, false);
  LpipsLoss loss(Scope{store, std::string(LpipsLoss::kScope)});
  EXPECT_EQ(store.all().size(), 38u);
  EXPECT_EQ(store.numel(), 14717638);
  const std::string prefix = "loss_calculator.lpips_loss_module.";
  for (const char* name : {"scaling_layer.shift", "net.slice1.0.weight", "net.slice1.2.bias", "net.slice2.5.weight",
                           "net.slice2.7.weight", "net.slice3.10.weight", "net.slice3.14.bias", "net.slice4.17.weight",
                           "net.slice5.24.weight", "net.slice5.28.bias", "lin4.model.1.weight", "lins.0.model.1.weight"})
    EXPECT_TRUE(store.find(prefix + name)) << name;
}
TEST(Perceptual, ParametersAreTheCheckpoints) {
  Arena arena(kMeta, std::size_t{1} << 32, "meta");
  ParamStore store(arena, Precision{}, false);
  PerceptualLoss loss(Scope{store, std::string(PerceptualLoss::kScope)});
  EXPECT_EQ(store.all().size(), 32u);
  EXPECT_EQ(store.numel(), 20024384);
  EXPECT_TRUE(store.find("loss_calculator.perceptual_loss_module.net.conv16.bias"));
}

}  // namespace
}  // namespace mfl::perceptual
