// What the UNet reads: training inputs against the formulas, draws that depend on no batch, and the sampling loop.
#include "models/mvdiffusion/conditioning.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "kernels/elementwise/mix.h"
#include "models/mvdiffusion/pipeline_files.h"
#include "models/mvdiffusion/sampling.h"
#include "tests/models/diffusion_support.h"
#include "tests/support/compare.h"
#include "tests/support/op_case.h"

namespace mfl::mvdiffusion {
namespace {

namespace fs = std::filesystem;

struct Bench {
  Stream s;
  Arena weights, arena;
  Ctx cx;
  NoiseSchedule schedule = NoiseSchedule::scaled_linear(), levels = NoiseSchedule::squared_cosine();
  Bench(Device d, DType compute)
      : s(Stream::create(d, "test")), weights(d, std::size_t{1} << 26, "weights"), arena(d, std::size_t{1} << 28, "activations"),
        cx{.stream = s, .arena = arena, .precision = Precision::of(compute)} {}
  // Values i -> f(i), on the device.
  template <class F>
  Tensor make(Shape shape, DType t, F f) {
    Tensor host = Tensor::on_heap(shape, DType::f64), same = Tensor::on_heap(shape, t), device = Tensor::on_heap(shape, t, s.device());
    for (std::int64_t i = 0; i < host.numel(); ++i) host.data<double>()[i] = f(i);
    cpu::cast({.x = host, .y = same});
    copy(s, same, device);
    s.synchronize();
    return device;
  }
  Tensor wave(Shape shape, double phase) {
    return make(shape, cx.precision.accum, [=](std::int64_t i) { return std::sin(double(i) * 1.7 + phase); });
  }
  Tensor ids(std::vector<std::int32_t> v) {
    Tensor device = Tensor::on_heap({std::int64_t(v.size())}, DType::i32, s.device());
    copy(s, make_view(static_cast<const void*>(v.data()), device.shape(), DType::i32), device);
    s.synchronize();
    return device;
  }
  std::vector<double> down(const Tensor& t) {
    Tensor host = Tensor::on_heap(t.shape(), t.dtype());
    copy(s, t, host);
    s.synchronize();
    return test::values(host);
  }
};

TEST(Conditioning, DropsAsAWhole) {
  int embedding = 0, condition = 0, both = 0, n = 20000;
  double mean = 0;
  for (int o = 0; o < n; ++o) {
    const ObjectDraw d = draw_object(1, 0, std::uint32_t(o), 1000, 0.05);
    embedding += !d.keep_embedding && d.keep_condition;
    condition += d.keep_embedding && !d.keep_condition;
    both += !d.keep_embedding && !d.keep_condition;
    mean += double(d.timestep) / n;
    ASSERT_LT(d.timestep, 1000);
  }
  for (int count : {embedding, condition, both}) EXPECT_NEAR(double(count) / n, 0.05, 0.007);
  EXPECT_NEAR(mean, 499.5, 10);
  EXPECT_TRUE(draw_object(1, 0, 0, 1000, 0).keep_embedding);
}

void training_input_is_the_formula(Device device) {
  Bench b(device, DType::f32);
  const std::int64_t O = 2, V = 3, N = O * V, C = 4;
  const Shape latent{N, 2, 2, C};
  const Tensor x0 = b.wave(latent, 0), condition = b.wave({O, 2, 2, C}, 1), embeddings = b.wave({O, 8}, 2);
  const Normalizer normalizer = Normalizer::identity(b.s, b.weights, DType::f32, 8);
  TrainingTables tables(b.s, b.weights, DType::f32, O, V);
  const std::uint64_t seed = 5, step = 11;
  const std::uint32_t first = 40;
  const auto hx0 = b.down(x0), hc = b.down(condition), he = b.down(embeddings);
  bool dropped[2] = {false, false};
  for (std::uint64_t round = 0; round < 40; ++round) {   // until both kinds were dropped and kept
    tables.set(b.s, b.schedule, 5, 0.3, seed, step + round, first);
    const TrainingInput in = training_input(b.cx, tables, normalizer, b.levels, x0, condition, embeddings, seed, step + round);
    const auto sample = b.down(in.sample), velocity = b.down(in.velocity), labels = b.down(in.class_labels),
               weights = b.down(tables.loss_weights);
    for (std::int64_t n = 0; n < N; ++n) {
      const ObjectDraw d = draw_object(seed, step + round, first + std::uint32_t(n / V), 1000, 0.3);
      dropped[0] |= !d.keep_embedding, dropped[1] |= !d.keep_condition;
      const double a = b.schedule.alpha_bar(d.timestep), a0 = b.levels.alpha_bar(0);
      const std::uint32_t stream = (first + std::uint32_t(n / V)) * std::uint32_t(V) + std::uint32_t(n % V);
      const Rng diffusion(seed, Draw::diffusion, step + round, stream), extra(seed, Draw::embedding, step + round, stream);
      ASSERT_NEAR(weights[std::size_t(n)], b.schedule.loss_weight(d.timestep, 5), 1e-6);
      for (std::int64_t p = 0; p < 4; ++p)
        for (std::int64_t c = 0; c < C; ++c) {
          const std::int64_t i = p * C + c;
          const double x = hx0[std::size_t(n * 16 + i)], e = diffusion.normal_at(std::uint64_t(i));
          ASSERT_NEAR(sample[std::size_t((n * 4 + p) * 2 * C + c)], std::sqrt(a) * x + std::sqrt(1 - a) * e, 1e-5);
          ASSERT_NEAR(sample[std::size_t((n * 4 + p) * 2 * C + C + c)],
                      d.keep_condition ? hc[std::size_t(n / V * 16 + i)] : 0.0, 1e-6);
          ASSERT_NEAR(velocity[std::size_t(n * 16 + i)], std::sqrt(a) * e - std::sqrt(1 - a) * x, 1e-5);
        }
      for (std::int64_t c = 0; c < 8; ++c) {
        const double noisy = std::sqrt(a0) * he[std::size_t(n / V * 8 + c)] + std::sqrt(1 - a0) * extra.normal_at(std::uint64_t(c));
        ASSERT_NEAR(labels[std::size_t(n * 16 + c)], d.keep_embedding ? noisy : 0.0, 1e-5);
        ASSERT_EQ(labels[std::size_t(n * 16 + 8 + c)], d.keep_embedding && c < 4 ? 1.0 : 0.0);   // the level's sinusoid at 0
      }
    }
  }
  EXPECT_TRUE(dropped[0] && dropped[1]);
}
TEST(Conditioning, TrainingInputIsTheFormula) { training_input_is_the_formula(kCpu); }
TEST(Conditioning, CudaTrainingInputIsTheFormula) {
  MFL_SKIP_WITHOUT_CUDA();
  training_input_is_the_formula({DeviceKind::cuda, 0});
}

TEST(Conditioning, AnObjectDrawsTheSameInAnyBatch) {
  Bench b(kCpu, DType::f64);
  const Normalizer normalizer = Normalizer::identity(b.s, b.weights, DType::f64, 4);
  const Tensor x0 = b.wave({6, 1, 1, 4}, 0), condition = b.wave({2, 1, 1, 4}, 1), embeddings = b.wave({2, 4}, 2);
  TrainingTables two(b.s, b.weights, DType::f64, 2, 3), one(b.s, b.weights, DType::f64, 1, 3);
  two.set(b.s, b.schedule, 5, 0.05, 9, 3, 10);
  one.set(b.s, b.schedule, 5, 0.05, 9, 3, 11);
  const TrainingInput all = training_input(b.cx, two, normalizer, b.levels, x0, condition, embeddings, 9, 3);
  const TrainingInput last =
      training_input(b.cx, one, normalizer, b.levels, x0.rows(3, 3), condition.rows(1, 1), embeddings.rows(1, 1), 9, 3);
  EXPECT_EQ(b.down(all.sample.rows(3, 3)), b.down(last.sample));
  EXPECT_EQ(b.down(all.class_labels.rows(3, 3)), b.down(last.class_labels));
  EXPECT_NE(b.down(all.velocity.rows(0, 3)), b.down(all.velocity.rows(3, 3)));
}

TEST(Conditioning, NormalizerOfAPipeline) {
  Bench b(kCpu, DType::f32);
  const fs::path folder = fs::path(MFL_SOURCE_DIR) / "tests" / "golden" / "pipeline" / "image_normalizer";
  const Normalizer n = Normalizer::load(b.s, b.weights, DType::f32, folder, 8);
  EXPECT_EQ(n.mean.data<float>()[7], 0.25f);
  EXPECT_EQ(n.std.data<float>()[7], 1.0f);
  EXPECT_THROW(Normalizer::load(b.s, b.weights, DType::f32, folder, 1024), DataError);
}

// v = x / 4 + condition + label + text + t / 5000, pixel by pixel.
Tensor network(Ctx& cx, const NetworkInput& in) {
  Shape shape = in.sample.shape();
  const std::int64_t c = shape[-1] / 2, rows = in.sample.shape().rows(), size = shape[1] * shape[2];
  shape[-1] = c;
  Tensor v = cx.compute(shape);
  const std::int64_t labels = in.class_labels.shape()[1], text_size = in.text.numel() / shape[0];
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t i = 0; i < c; ++i)
      v.data<double>()[r * c + i] = in.sample.data<double>()[r * 2 * c + i] / 4 + in.sample.data<double>()[r * 2 * c + c + i] +
                                    in.class_labels.data<double>()[r / size * labels] + in.text.data<double>()[r / size * text_size] +
                                    in.timesteps.data<double>()[r / size] / 5000;
  return v;
}

TEST(Sampling, AnImageIsTheSameInAnyBatch) {
  Bench b(kCpu, DType::f64);
  const Tensor condition = b.wave({2, 2, 2, 4}, 0), labels = b.wave({4, 6}, 1), text = b.wave({4, 3, 2}, 2);
  auto run = [&](SamplerConfig config, std::int64_t first, std::int64_t objects) {
    const SamplerTable table(b.s, b.weights, DType::f64, sampler_steps(b.schedule, config));
    std::vector<std::int32_t> ids;
    for (std::int64_t n = 2 * first; n < 2 * (first + objects); ++n) ids.push_back(std::int32_t(100 + n));
    const SamplingInput in{condition.rows(first, objects), labels.rows(2 * first, 2 * objects), text.rows(2 * first, 2 * objects),
                           b.ids(ids), 77};
    return b.down(sample_latents(b.cx, table, in, network));
  };
  for (const SamplerConfig& config : {SamplerConfig{.steps = 5}, SamplerConfig{.steps = 5, .guidance = 1},
                                      SamplerConfig{.kind = SamplerKind::dpm_solver, .steps = 5, .eta = 0}}) {
    const auto both = run(config, 0, 2), second = run(config, 1, 1);
    for (std::size_t i = 0; i < second.size(); ++i) ASSERT_EQ(both[both.size() / 2 + i], second[i]);
    EXPECT_EQ(both, run(config, 0, 2));
  }
  EXPECT_EQ(b.arena.live_bytes(), 0u);
}

// By hand, with given noise: the unconditional half sees zeros for the condition and the class vector, and the same text.
TEST(Sampling, GuidanceIsTheFormula) {
  Bench b(kCpu, DType::f64);
  const Tensor condition = b.wave({1, 1, 1, 4}, 0), labels = b.wave({1, 2}, 1), text = b.wave({1, 1, 2}, 2);
  const SamplerConfig config{.steps = 3, .guidance = 3, .eta = 1};
  const SamplerTable table(b.s, b.weights, DType::f64, sampler_steps(b.schedule, config));
  auto noise_at = [](std::size_t k, std::int64_t i) { return std::cos(double(k) + 0.3 * double(i)); };
  const SamplingInput in{condition, labels, text, b.ids({0}), 0};
  const auto out = b.down(sample_latents(b.cx, table, in, network, [&](std::size_t k, View into) {
    for (std::int64_t i = 0; i < into.numel(); ++i) into.as<double>()[i] = noise_at(k, i);
  }));
  const auto hc = b.down(condition), hl = b.down(labels), ht = b.down(text);
  for (std::int64_t i = 0; i < 4; ++i) {
    double x = noise_at(0, i);
    for (int k = 0; k < 3; ++k) {
      const std::int64_t t = (2 - k) * 333 + 1, before = t - 333;
      const double a = b.schedule.alpha_bar(t), to = b.schedule.alpha_bar(std::max<std::int64_t>(before, 0));
      const double common = x / 4 + ht[0] + double(t) / 5000, conditional = common + hc[std::size_t(i)] + hl[0];
      const double v = common + 3 * (conditional - common);
      const double x0 = std::sqrt(a) * x - std::sqrt(1 - a) * v, e = std::sqrt(a) * v + std::sqrt(1 - a) * x;
      const double sigma = std::sqrt((1 - to) / (1 - a) * (1 - a / to));
      x = std::sqrt(to) * x0 + std::sqrt(1 - to - sigma * sigma) * e + sigma * noise_at(std::size_t(k) + 1, i);
    }
    EXPECT_NEAR(out[std::size_t(i)], x, 1e-11);
  }
}

// The published first step's noising: every folder mv_* of MFL_GOLDEN.
TEST(GoldenNoising, ReproducesThePublishedStep) {
  const char* given = std::getenv("MFL_GOLDEN");
  const fs::path root = given ? fs::path(given) : fs::path(MFL_SOURCE_DIR) / ".." / "shared" / "golden";
  Bench b(kCpu, DType::f32);
  int cases = 0;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(root, none)) {
    if (!entry.path().filename().string().starts_with("mv_")) continue;
    ++cases;
    const io::SafetensorsFile e(entry.path() / "expected.safetensors");
    const Tensor x0 = e.load("latents"), noise = e.load("noise"), t = e.load("timesteps");
    const std::int64_t n = t.numel();
    auto weights = [&](bool velocity) {
      return b.make({n, 2}, DType::f32, [&](std::int64_t i) {
        const std::int64_t at = t.data<std::int64_t>()[i / 2];
        return (velocity ? b.schedule.velocity(at) : b.schedule.noisy(at))[std::size_t(i % 2)];
      });
    };
    for (bool velocity : {false, true}) {
      Tensor y = Tensor::on_heap(x0.shape(), DType::f32);
      mix(b.s, {.x = {x0, noise}, .weights = weights(velocity), .y = y});
      EXPECT_LT(mfl::test::relative_l2(test::values(y), test::values(e.load(velocity ? "velocity" : "noisy"))), 1e-6);
    }
  }
  if (cases == 0) GTEST_SKIP() << "no golden cases mv_* in " << root;
}

}  // namespace
}  // namespace mfl::mvdiffusion
