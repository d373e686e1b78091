// The composition of GS-LRM: gradient of the whole model by directional differences in f64, recomputation, dry run.
#include "models/gslrm/model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "models/weights/coverage.h"
#include "runtime/rng.h"

namespace mfl::gslrm {
namespace {

ModelSpec tiny(int recompute = 0, bool marker = false) {
  ModelSpec s;
  s.image_size = 16, s.patch_size = 8, s.num_input_views = 2, s.d = 32, s.d_head = 32, s.n_layer = 3, s.n_gaussians = 2;
  s.sh_degree = 1;
  s.add_refsrc_marker = marker;
  s.recompute_segment = recompute;
  return s;
}

// A model with its memory, and two samples of two posed views.
struct Bench {
  Stream stream;
  Arena weights, step;
  ParamStore store;
  Model model;
  Views views;

  Bench(Device device, Precision precision, const ModelSpec& spec)
      : stream(Stream::create(device, "test")), weights(device, 64 << 20, "weights"), step(device, 64 << 20, "step"),
        store(weights, precision), model(Scope{store}, spec) {
    store.seal(stream);
    const std::int64_t B = 2, V = 2, S = spec.image_size;
    const DType t = precision.accum;
    views = {weights.empty({B, V, S, S, 4}, t), weights.empty({B, V, 4, 4}, t), weights.empty({B, V, 4}, t)};
    if (device.is_meta()) return;
    initialise(stream, store, 3);
    Rng rng(5, Draw::test);
    for (Param& p : store.all())   // larger than the initial weights: every non-linearity works
      each(p.value, [&](double x) { return p.shape.rank() > 1 ? x * 5 : x + 0.1 * rng.normal(); });
    weights::refresh_compute(stream, store);
    each(views.image, [&](double) { return rng.uniform(); });
    std::int64_t k = 0;
    each(views.fxfycxcy, [&](double) { return k++ % 4 < 2 ? 17.2 : 8.3; });
    std::vector<double> pose;
    for (int view = 0; view < 4; ++view) {   // cameras on a ring, looking at the origin, z up
      const double a = 0.4 + 1.3 * view, c = std::cos(a), s = std::sin(a);
      for (double x : {-s, 0.0, -c, 2.7 * c, c, 0.0, -s, 2.7 * s, 0.0, -1.0, 0.0, 0.1, 0.0, 0.0, 0.0, 1.0}) pose.push_back(x);
    }
    k = 0;
    each(views.c2w, [&](double) { return pose[std::size_t(k++)]; });
  }
  template <class F>
  static void each(const Tensor& t, F&& f) {
    for (std::int64_t i = 0; i < t.numel(); ++i) {
      if (t.dtype() == DType::f64) t.data<double>()[i] = f(t.data<double>()[i]);
      else t.data<float>()[i] = float(f(t.data<float>()[i]));
    }
  }
  Ctx context() { return {.stream = stream, .arena = step, .precision = store.precision()}; }

  // Fixed random weights of the outputs: the objective is their inner product.
  GaussianBatch cotangent(const GaussianBatch& g) {
    Rng rng(11, Draw::test);
    auto one = [&](const Tensor& t) {
      Tensor d = step.empty(t.shape(), t.dtype());
      if (!stream.device().is_meta()) each(d, [&](double) { return rng.normal(); });
      return d;
    };
    return {one(g.xyz), one(g.features), one(g.scaling), one(g.rotation), one(g.opacity)};
  }
  double objective() {
    Ctx cx = context();
    cx.saving = false;
    Model::Saved nothing;
    const GaussianBatch g = model.forward(cx, views, nothing).gaussians, w = cotangent(g);
    double sum = 0;
    auto dot = [&](const Tensor& a, const Tensor& b) {
      for (std::int64_t i = 0; i < a.numel(); ++i) sum += a.data<double>()[i] * b.data<double>()[i];
    };
    dot(g.xyz, w.xyz), dot(g.features, w.features), dot(g.scaling, w.scaling), dot(g.rotation, w.rotation);
    dot(g.opacity, w.opacity);
    return sum;
  }
  std::vector<ParamRange> gradient() {
    Ctx cx = context();
    std::vector<ParamRange> ready;
    cx.grads_ready = [&](ParamRange r) { ready.push_back(r); };
    Model::Saved saved;
    Model::Output out = model.forward(cx, views, saved);
    const GaussianBatch w = cotangent(out.gaussians);
    out = {};
    model.backward(cx, std::move(saved), w);
    return ready;
  }
};

TEST(GslrmModel, GradientIsTheDerivative) {
  for (bool marker : {false, true}) {
    Bench b(kCpu, Precision::of(DType::f64), tiny(0, marker));
    b.gradient();
    std::vector<double> grad(b.store.grads().data<double>(), b.store.grads().data<double>() + b.store.flat_numel());
    double* value = b.store.values().data<double>();
    const std::vector<double> at(value, value + b.store.flat_numel());
    for (std::uint64_t direction = 0; direction < 4; ++direction) {
      const Rng rng(17, Draw::test, direction);
      std::vector<double> u(at.size(), 0.0);
      double predicted = 0, scale = 0;
      for (const Param& p : b.store.all())
        for (std::int64_t i = p.first; i < p.first + p.numel(); ++i) {
          u[std::size_t(i)] = rng.normal_at(std::uint64_t(i));
          predicted += u[std::size_t(i)] * grad[std::size_t(i)];
          scale += grad[std::size_t(i)] * grad[std::size_t(i)];
        }
      const double h = 1e-6;
      auto shifted = [&](double s) {
        for (std::size_t i = 0; i < at.size(); ++i) value[i] = at[i] + s * u[i];
        return b.objective();
      };
      const double measured = (shifted(h) - shifted(-h)) / (2 * h);
      std::copy(at.begin(), at.end(), value);
      EXPECT_NEAR(predicted, measured, 1e-6 * std::max(std::sqrt(scale), std::abs(measured))) << "direction " << direction;
    }
  }
}

TEST(GslrmModel, RecomputedGradientsAreBitwiseThePlainOnes) {
  Bench plain(kCpu, Precision::of(DType::bf16), tiny(0));
  plain.gradient();
  for (int segment : {1, 2, 3}) {
    Bench again(kCpu, Precision::of(DType::bf16), tiny(segment));
    again.gradient();
    EXPECT_EQ(std::memcmp(plain.store.grads().data<float>(), again.store.grads().data<float>(), plain.store.grads().bytes()), 0)
        << "segments of " << segment;
    EXPECT_LT(again.step.peak_bytes(), plain.step.peak_bytes());
  }
}

TEST(GslrmModel, SecondMicroBatchAdds) {
  Bench b(kCpu, Precision::of(DType::f64), tiny());
  b.gradient();
  const double* g = b.store.grads().data<double>();
  const std::vector<double> once(g, g + b.store.flat_numel());
  Ctx cx = b.context();
  cx.accumulate_grads = true;
  Model::Saved saved;
  Model::Output out = b.model.forward(cx, b.views, saved);
  b.model.backward(cx, std::move(saved), b.cotangent(out.gaussians));
  for (std::size_t i = 0; i < once.size(); ++i) ASSERT_NEAR(g[i], 2 * once[i], 1e-9 * (1 + std::abs(once[i])));
}

TEST(GslrmModel, FrozenParametersKeepTheirGradientUntouched) {
  Bench b(kCpu, Precision::of(DType::f32), tiny());
  for (Param& p : b.store.all())
    if (p.name.starts_with("transformer_layers.0.") || p.name.starts_with("patch_embedder")) {
      p.trainable = false;
      Bench::each(p.grad, [](double) { return 7.0; });
    }
  b.gradient();
  for (Param& p : b.store.all())
    for (std::int64_t i = 0; i < p.numel() && !p.trainable; ++i) ASSERT_EQ(p.grad.data<float>()[i], 7.0f) << p.name;
}

TEST(GslrmModel, GradientsBecomeReadyFromTheHeadsDownAndCoverAll) {
  Bench b(kCpu, Precision::of(DType::f32), tiny());
  const auto ready = b.gradient();
  std::int64_t covered = 0, below = b.store.flat_numel();
  for (ParamRange r : ready) {
    EXPECT_EQ(r.first + r.count, below);
    below = r.first, covered += r.count;
  }
  EXPECT_EQ(covered, b.store.flat_numel());
}

TEST(GslrmModel, DryRunPredictsThePeak) {
  for (int segment : {0, 2}) {
    // On the CPU no partial sums are needed; everything else is the same, so the dry run is an upper bound that differs by
    // the scratch of one layer norm and one attention backward only. CUDA's equality is tested on a GPU.
    Bench dry(kMeta, Precision::of(DType::bf16), tiny(segment)), real(kCpu, Precision::of(DType::bf16), tiny(segment));
    dry.gradient(), real.gradient();
    EXPECT_GE(dry.step.peak_bytes(), real.step.peak_bytes());
    EXPECT_LT(dry.step.peak_bytes(), real.step.peak_bytes() * 5 / 4);
    EXPECT_EQ(dry.weights.peak_bytes(), real.weights.peak_bytes());
  }
}

TEST(GslrmModel, NamesAndOrderAreThePublishedOnes) {
  Bench b(kMeta, Precision::of(DType::f32), tiny());
  std::vector<std::string> names;
  for (const Param& p : b.store.all()) names.push_back(p.name);
  ASSERT_EQ(names.size(), 3u + 6 * 3 + 4);
  EXPECT_EQ(names[0], "gaussian_position_embeddings");
  EXPECT_EQ(names[1], "patch_embedder.1.weight");
  EXPECT_EQ(names[2], "input_layer_norm.weight");
  EXPECT_EQ(names[3], "transformer_layers.0.norm1.weight");
  EXPECT_EQ(names[5], "transformer_layers.0.attn.to_qkv.weight");
  EXPECT_EQ(names[6], "transformer_layers.0.attn.fc.weight");
  EXPECT_EQ(names[7], "transformer_layers.0.mlp.mlp.0.weight");
  EXPECT_EQ(names[8], "transformer_layers.0.mlp.mlp.2.weight");
  EXPECT_EQ(names[21], "gaussian_upsampler.layernorm.weight");
  EXPECT_EQ(names[24], "pixel_gaussian_decoder.1.weight");
}

TEST(GslrmModel, PublishedSizeHasThePublishedNumberOfParameters) {
  const Stream stream = Stream::create(kMeta, "test");
  Arena weights(kMeta, std::size_t{1} << 40, "weights");
  ParamStore store(weights, Precision::of(DType::bf16));
  ModelSpec spec;
  Model model(Scope{store}, spec);
  store.seal(stream);
  EXPECT_EQ(store.all().size(), 151u);
  EXPECT_EQ(store.numel(), 303'565'824);
  EXPECT_EQ(spec.tokens(), 24'578);
  EXPECT_EQ(spec.gaussians(), 1'572'866);
  EXPECT_NEAR(model.forward_flops(), 14.8e12 + 59.4e12, 0.2e12);
}

}  // namespace
}  // namespace mfl::gslrm
