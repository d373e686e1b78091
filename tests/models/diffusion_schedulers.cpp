// Schedules, samplers, EMA, noise on embeddings and CLIP's resize against diffusers, torch and Pillow:
// tests/golden/make_diffusion.py.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/elementwise/mix.h"
#include "kernels/embed/noise_embedding.h"
#include "kernels/optim/ema.h"
#include "kernels/resample/bicubic.h"
#include "models/mvdiffusion/schedulers.h"
#include "runtime/io/safetensors.h"

namespace mfl::mvdiffusion {
namespace {

class DiffusionGolden : public ::testing::Test {
 protected:
  Tensor in(const std::string& name) { return file_.load(name); }
  Tensor f64(const std::string& name) { return file_.load(name, DType::f64); }
  static Tensor like(const Tensor& t) { return Tensor::on_heap(t.shape(), DType::f64); }
  void expect(const std::string& name, const Tensor& out, double tolerance) {
    const Tensor ref = f64(name);
    ASSERT_EQ(ref.numel(), out.numel()) << name;
    for (std::int64_t i = 0; i < ref.numel(); ++i)
      ASSERT_NEAR(out.data<double>()[i], ref.data<double>()[i], tolerance) << name << '[' << i << ']';
  }
  const Stream s_ = Stream::create(kCpu, "test");
  Arena arena_{kCpu, std::size_t{1} << 26, "test"};
  io::SafetensorsFile file_{std::string(MFL_SOURCE_DIR) + "/tests/golden/diffusion.safetensors"};
  const NoiseSchedule schedule_ = NoiseSchedule::scaled_linear();
};

// The published tables are f32 products of a thousand factors.
TEST_F(DiffusionGolden, ScheduleIsThePublishedOne) {
  const Tensor a = in("alpha_bar"), levels = in("levels.alpha_bar");
  const NoiseSchedule cosine = NoiseSchedule::squared_cosine();
  for (int t = 0; t < 1000; ++t) {
    ASSERT_NEAR(schedule_.alpha_bar(t), a.data<double>()[t], 1e-6) << t;
    ASSERT_NEAR(cosine.alpha_bar(t), levels.data<double>()[t], 1e-6) << t;
  }
  EXPECT_NEAR(cosine.alpha_bar(0), 0.99995869, 1e-7);
  EXPECT_NEAR(schedule_.snr(100), 8.453865, 2e-4);
}

TEST_F(DiffusionGolden, NoiseVelocityAndLossWeight) {
  const Tensor t = in("t"), x0 = in("x0"), noise = in("noise"), weight = in("weight");
  const std::int64_t n = t.numel();
  Tensor noisy = Tensor::on_heap({n, 2}, DType::f64), velocity = Tensor::on_heap({n, 2}, DType::f64);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t at = t.data<std::int64_t>()[i];
    for (std::size_t k = 0; k < 2; ++k) {
      noisy.data<double>()[2 * i + std::int64_t(k)] = schedule_.noisy(at)[k];
      velocity.data<double>()[2 * i + std::int64_t(k)] = schedule_.velocity(at)[k];
    }
    EXPECT_NEAR(schedule_.loss_weight(at, 5) / weight.data<double>()[i], 1, 1e-4) << "timestep " << at;
    EXPECT_EQ(schedule_.loss_weight(at, 0), 1);
  }
  Tensor x = like(x0), v = like(x0);
  mix(s_, {.x = {x0, noise}, .weights = noisy, .y = x});
  mix(s_, {.x = {x0, noise}, .weights = velocity, .y = v});
  expect("noisy", x, 3e-6);
  expect("velocity", v, 3e-6);
}

// The golden run's network and noise: see make_diffusion.py.
double wave(std::int64_t i, double phase, double scale) {
  return scale * std::sin(double(i) * 1.7 + phase) + 0.3 * scale * std::cos(double(i) * 0.37);
}
struct SamplerRun {
  const char* name;
  SamplerConfig config;
};
void PrintTo(const SamplerRun& run, std::ostream* out) { *out << run.name; }
class Samplers : public DiffusionGolden, public ::testing::WithParamInterface<SamplerRun> {};

TEST_P(Samplers, FollowDiffusersStepByStep) {
  const SamplerConfig config = GetParam().config;
  const std::string name = GetParam().name;
  const SamplerTable table(s_, arena_, DType::f64, sampler_steps(schedule_, config));
  const Tensor timesteps = in(name + ".timesteps"), trace = f64(name + ".trace");
  Tensor x = f64("sample.start"), before;
  ASSERT_EQ(std::int64_t(table.steps().size()), timesteps.numel());
  for (std::size_t k = 0; k < table.steps().size(); ++k) {
    ASSERT_EQ(table.steps()[k].t, timesteps.data<std::int64_t>()[k]);
    const std::int64_t n = x.numel();
    Tensor v = Tensor::on_heap({config.guided() ? 4 : 2, 4}, DType::f64), noise = like(x), x0 = like(x);
    for (std::int64_t i = 0; i < n; ++i) {
      const double at = x.data<double>()[i], common = std::sin(3 * at) / 2 + at / 4, t = double(table.steps()[k].t);
      if (config.guided()) v.data<double>()[i] = common;
      v.data<double>()[config.guided() ? n + i : i] = common + t / 5000;
      noise.data<double>()[i] = wave(i, 2.0 + double(k), 1);
    }
    table.advance(s_, k, x, v, before ? ConstView(before) : ConstView(), config.eta > 0 ? ConstView(noise) : ConstView(), x0);
    before = x0;
    for (std::int64_t i = 0; i < n; ++i)
      ASSERT_NEAR(x.data<double>()[i], trace.data<double>()[std::int64_t(k) * n + i], 2e-4) << name << ", step " << k;
  }
}
INSTANTIATE_TEST_SUITE_P(
    , Samplers,
    ::testing::Values(SamplerRun{"ddim50", {.steps = 50, .guidance = 3, .eta = 1}},
                      SamplerRun{"ddim20", {.steps = 20, .guidance = 1, .eta = 1}},
                      SamplerRun{"ddim7", {.steps = 7, .guidance = 3, .eta = 0}},
                      SamplerRun{"dpm20", {.kind = SamplerKind::dpm_solver, .steps = 20, .guidance = 3, .eta = 0}},
                      SamplerRun{"dpm8", {.kind = SamplerKind::dpm_solver, .steps = 8, .guidance = 3, .eta = 0}},
                      SamplerRun{"dpm1", {.kind = SamplerKind::dpm_solver, .steps = 1, .guidance = 3, .eta = 0}}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_F(DiffusionGolden, DdimAddsNoiseInItsLastStep) {
  EXPECT_NEAR(sampler_steps(schedule_, {.steps = 50}).back().next[3], 0.0206482, 1e-6);
  EXPECT_NEAR(sampler_steps(schedule_, {.steps = 50}).front().next[3], 0.454463, 1e-5);
  EXPECT_NEAR(sampler_steps(schedule_, {.steps = 20}).front().next[3], 0.644391, 1e-5);
}

TEST_F(DiffusionGolden, ImpossibleStepsAreRefused) {
  EXPECT_THROW(sampler_steps(schedule_, {.steps = 0}), ConfigError);
  EXPECT_THROW(sampler_steps(schedule_, {.steps = 1001}), ConfigError);
  EXPECT_THROW(sampler_steps(schedule_, {.steps = 1000}), ConfigError);  // the offset would lead beyond the last timestep
  EXPECT_THROW(sampler_steps(schedule_, {.steps = 50, .eta = 2}), ConfigError);
  EXPECT_NO_THROW(sampler_steps(schedule_, {.steps = 999}));
}

TEST_F(DiffusionGolden, MovingAverage) {
  const Tensor decays = in("ema.decays"), shadows = f64("ema.shadows");
  const std::int64_t updates[] = {1, 2, 10, 100, 1000, 10000, 90000, 200000};
  for (int i = 0; i < 8; ++i) EXPECT_NEAR(ema_decay(updates[i]), decays.data<double>()[i], 1e-12) << updates[i];
  Tensor shadow = Tensor::on_heap({9}, DType::f64), value = Tensor::on_heap({9}, DType::f64);
  for (int i = 0; i < 9; ++i) shadow.data<double>()[i] = wave(i, 0, 1);
  for (int k = 0; k < 4; ++k) {
    for (int i = 0; i < 9; ++i) value.data<double>()[i] = wave(i, k + 1, 1);
    ema(s_, {.shadow = shadow, .value = value, .decay = ema_decay(k + 1)});
    for (int i = 0; i < 9; ++i) EXPECT_NEAR(shadow.data<double>()[i], shadows.data<double>()[9 * k + i], 1e-12);
  }
}

TEST_F(DiffusionGolden, NoiseOnEmbeddings) {
  const NoiseSchedule levels = NoiseSchedule::squared_cosine();
  for (std::int64_t level : {0, 437}) {
    const std::string name = "embedding.level" + std::to_string(level);
    Tensor y = like(f64(name));
    noise_embedding(s_, {.embedding = f64("embedding"), .mean = f64("embedding.mean"), .std = f64("embedding.std"),
                         .noise = f64("embedding.noise"), .alpha_bar = levels.alpha_bar(level), .level = level, .y = y});
    expect(name, y, 1e-4);  // diffusers' sinusoid is f32: angles up to 437
  }
}

TEST_F(DiffusionGolden, ResizesForClip) {
  const Tensor bytes = in("resize.bytes"), pillow = in("resize.bytes_14x20");
  Tensor x = Tensor::on_heap(bytes.shape(), DType::f64);
  for (std::int64_t i = 0; i < x.numel(); ++i) x.data<double>()[i] = bytes.data<std::uint8_t>()[i] / 255.0;
  Tensor rows = Tensor::on_heap({2, 31, 20, 3}, DType::f64), y = Tensor::on_heap({2, 14, 20, 3}, DType::f64);
  resize_bicubic(s_, {.x = x, .rows = rows, .y = y});
  expect("resize.floats_14x20", y, 1e-9);
  Tensor byte_rows = Tensor::on_heap({2, 31, 20, 3}, DType::u8), z = Tensor::on_heap({2, 14, 20, 3}, DType::f32);
  resize_bicubic(s_, {.x = bytes, .rows = byte_rows, .y = z});
  for (std::int64_t i = 0; i < z.numel(); ++i)
    ASSERT_EQ(int(std::lround(z.data<float>()[i] * 255)), int(pillow.data<std::uint8_t>()[i])) << i;
}

}  // namespace
}  // namespace mfl::mvdiffusion
