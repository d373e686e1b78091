// The ops around a diffusion network: per-sample combinations, normal draws, the weighted loss, the moving average of
// parameters, padding, softmax of rows, the class vector and the bicubic resize.
#include <cmath>

#include "kernels/attention/softmax.h"
#include "kernels/elementwise/bytes.h"
#include "kernels/elementwise/fit.h"
#include "kernels/elementwise/mix.h"
#include "kernels/elementwise/normal.h"
#include "kernels/elementwise/posterior.h"
#include "kernels/embed/noise_embedding.h"
#include "kernels/loss/weighted_mse.h"
#include "kernels/optim/ema.h"
#include "kernels/resample/bicubic.h"
#include "tests/support/op_case.h"
#include "tests/support/scalar.h"

namespace mfl::test {
namespace {

Slot input(const std::string& name, Shape shape, Role role = Role::work) { return {name, shape, role, false}; }
Slot output(const std::string& name, Shape shape, Role role = Role::work) { return {name, shape, role, false}; }

OpCase mix_case(std::int64_t n, std::int64_t m, std::int64_t terms, bool shared) {
  OpCase c;
  c.name = text('N', n, "_M", m, "_K", terms, shared ? "_shared" : "");
  c.inputs = {input("a", {n, m}), input("b", {n, m}, Role::accum), input("c", {n, m}), input("d", {n, m}, Role::accum),
              input("weights", {shared ? 1 : n, terms}, Role::accum)};
  c.outputs = {output("y", {n, m}), output("wide", {n, m}, Role::accum)};
  c.forward = [=](Run& r) {
    const char* names[] = {"a", "b", "c", "d"};
    for (const char* to : {"y", "wide"}) {
      Mix a{.x = {}, .weights = r["weights"], .y = r[to]};
      for (std::size_t k = 0; k < std::size_t(terms); ++k) a.x[k] = r[names[k]];
      mix(r.stream, a);
    }
  };
  c.terms = double(terms);
  c.bytes_fwd = 6 * double(n * m) * double(terms + 1);   // two results, terms of 2 and 4 bytes
  return c;
}
std::vector<OpCase> mix_cases() {
  return {mix_case(1, 1, 1, true), mix_case(3, 129, 4, false), mix_case(5, 31, 3, true), mix_case(7, 4097, 2, false),
          bench_only(mix_case(48, 16384, 3, false))};
}

OpCase fill_normal_case(std::int64_t n, std::int64_t m) {
  OpCase c;
  c.name = text('N', n, "_M", m);
  c.inputs = {{"streams", {n}, Role::fixed, false, [](Rng& r) { return double(r.below(1000)); }, DType::i32}};
  c.outputs = {output("x", {n, m})};
  c.forward = [](Run& r) {
    fill_normal(r.stream, {.x = r["x"], .streams = r["streams"], .seed = 0x123456789abcdefull, .purpose = Draw::test, .step = 7});
  };
  return c;
}
std::vector<OpCase> fill_normal_cases() { return {fill_normal_case(1, 1), fill_normal_case(3, 129), fill_normal_case(2, 4096),
                                                       bench_only(fill_normal_case(48, 16384))}; }

// There and back: the bytes themselves are integers, which the parity check does not compare.
OpCase bytes_case(std::int64_t n, bool round) {
  OpCase c;
  c.name = text('n', n, round ? "_round" : "");
  c.inputs = {{"x", {n}, Role::accum, false, [](Rng& r) { return 0.5 + 0.4 * r.normal(); }}};
  c.outputs = {{"bytes", {n}, Role::fixed, false, {}, DType::u8}, {"y", {n}, Role::accum, false}};
  c.forward = [=](Run& r) {
    to_bytes(r.stream, {.x = r["x"], .round = round, .y = r["bytes"]});
    from_bytes(r.stream, {.x = r["bytes"], .y = r["y"]});
  };
  c.bf16 = false;
  c.bytes_fwd = 10 * double(n);
  return c;
}
std::vector<OpCase> bytes_cases() { return {bytes_case(1, false), bytes_case(4099, false), bytes_case(129, true),
                                                 bench_only(bytes_case(8 * 512 * 512 * 3, false))}; }

OpCase posterior_case(std::int64_t r, std::int64_t ch, bool mode) {
  OpCase c;
  c.name = text('R', r, "_C", ch, mode ? "_mode" : "");
  // Some log-variances lie outside the clamp below, which only a wide draw shows.
  c.inputs = {{"moments", {r, 2 * ch}, Role::work, false, [](Rng& g) { return g.below(8) == 0 ? -40.0 : 2 * g.normal(); }},
              input("noise", {r, ch}, Role::accum)};
  c.outputs = {output("y", {r, ch}), output("wide", {r, ch}, Role::accum)};
  c.forward = [=](Run& run) {
    for (const char* to : {"y", "wide"}) {
      SamplePosterior a{.moments = run["moments"], .scale = 0.18215, .y = run[to]};
      if (!mode) a.noise = run["noise"];
      sample_posterior(run.stream, a);
    }
  };
  c.terms = 100;   // the exponential of a number of size 3
  return c;
}
std::vector<OpCase> posterior_cases() { return {posterior_case(1, 1, false), posterior_case(33, 4, false), posterior_case(257, 4, true)}; }

OpCase weighted_mse_case(std::int64_t n, std::int64_t m) {
  OpCase c;
  c.name = text('N', n, "_M", m);
  c.inputs = {{"x", {n, m}}, input("target", {n, m}, Role::accum),
              {"weights", {n}, Role::accum, false, [](Rng& r) { return 0.5 + double(r.uniform()); }}};
  c.outputs = {{"loss", {1}, Role::accum, true}, output("per_sample", {n}, Role::accum)};
  c.forward = [](Run& r) {
    weighted_mse_fwd(r.stream, {.x = r["x"], .target = r["target"], .weights = r["weights"], .loss = r["loss"],
                                .per_sample = r["per_sample"]});
  };
  c.backward = [](Run& r) {
    weighted_mse_bwd(r.stream, {.x = r["x"], .target = r["target"], .weights = r["weights"],
                                .weight = host_value(r.stream, r["dloss"]), .dx = r["dx"], .dx_mode = r.mode});
  };
  c.terms = double(n * m);
  c.bytes_fwd = 6 * double(n * m), c.bytes_bwd = 8 * double(n * m);
  return c;
}
std::vector<OpCase> weighted_mse_cases() {
  return {weighted_mse_case(1, 1), weighted_mse_case(6, 33), weighted_mse_case(3, 4099), bench_only(weighted_mse_case(48, 16384))};
}

OpCase ema_case(std::int64_t n, double decay) {
  OpCase c;
  c.name = text('n', n, "_decay", int(1000 * decay));
  c.inputs = {input("value", {n}, Role::accum), input("before", {n}, Role::accum)};
  c.outputs = {output("shadow", {n}, Role::accum)};
  c.forward = [=](Run& r) {
    copy(r.stream, r["before"], r["shadow"]);
    ema(r.stream, {.shadow = r["shadow"], .value = r["value"], .decay = decay});
  };
  c.bf16 = false;
  c.bytes_fwd = 20 * double(n);   // 8 of them the copy
  return c;
}
std::vector<OpCase> ema_cases() { return {ema_case(1, 0), ema_case(129, 0.5), ema_case(4100, 0.999), bench_only(ema_case(868'000'000, 0.9999))}; }

OpCase fit_case(const char* name, Shape x, Shape y) {
  OpCase c;
  c.name = name;
  c.inputs = {input("x", x)};
  c.outputs = {output("y", y)};
  c.forward = [](Run& r) { fit(r.stream, {.x = r["x"], .y = r["y"]}); };
  c.bytes_fwd = 4 * double(y.numel());
  return c;
}
std::vector<OpCase> fit_cases() {
  return {fit_case("right_and_bottom", {2, 7, 5, 3}, {2, 8, 6, 3}), fit_case("wider_heads", {9, 2, 80}, {9, 2, 128}),
          fit_case("narrower_heads", {9, 2, 128}, {9, 2, 80}), fit_case("both_ways", {3, 5}, {2, 7}),
          fit_case("one_axis", {33}, {31})};
}

OpCase softmax_case(std::int64_t rows, std::int64_t columns, double scale) {
  OpCase c;
  c.name = text('R', rows, "_C", columns);
  c.inputs = {input("x", {rows, columns})};
  c.outputs = {output("y", {rows, columns}), output("wide", {rows, columns}, Role::accum)};
  c.forward = [=](Run& r) {
    softmax_fwd(r.stream, {.x = r["x"], .scale = scale, .y = r["y"]});
    softmax_fwd(r.stream, {.x = r["x"], .scale = scale, .y = r["wide"]});
  };
  c.terms = double(columns);
  c.bytes_fwd = 10 * double(rows * columns);
  return c;
}
std::vector<OpCase> softmax_cases() {
  std::vector<OpCase> cases = {softmax_case(1, 1, 1), softmax_case(3, 31, 8), softmax_case(5, 257, 0.5), softmax_case(2, 4096, 20)};
  OpCase real = softmax_case(4096, 4096, 0.0442);
  real.bench_only = true;
  cases.push_back(real);
  return cases;
}

OpCase noise_embedding_case(std::int64_t b, std::int64_t repeat, std::int64_t c_, std::int64_t level, bool drop) {
  OpCase c;
  const std::int64_t n = b * repeat;
  c.name = text('B', b, "_R", repeat, "_C", c_, "_level", level, drop ? "_drop" : "");
  c.inputs = {input("embedding", {b, c_}), input("mean", {c_}, Role::accum), input("std", {c_}, Role::accum),
              input("noise", {n, c_}, Role::accum),
              {"keep", {n}, Role::accum, false, [](Rng& r) { return double(r.below(2)); }}};
  c.outputs = {output("y", {n, 2 * c_})};
  c.forward = [=](Run& r) {
    NoiseEmbedding a{.embedding = r["embedding"], .mean = r["mean"], .std = r["std"], .noise = r["noise"],
                     .alpha_bar = 0.9, .level = level, .y = r["y"]};
    if (drop) a.keep = r["keep"];
    noise_embedding(r.stream, a);
  };
  c.terms = 4;
  return c;
}
std::vector<OpCase> noise_embedding_cases() {
  return {noise_embedding_case(1, 1, 2, 0, false), noise_embedding_case(3, 6, 34, 0, true),
          noise_embedding_case(2, 2, 1024, 999, false)};
}

OpCase bicubic_case(std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t to_h, std::int64_t to_w, bool bytes) {
  OpCase c;
  c.name = text('N', n, "_H", h, "_W", w, "_to", to_h, 'x', to_w, bytes ? "_bytes" : "");
  Slot x = input("x", {n, h, w, 3}, Role::accum);
  if (bytes)
    x = {"x", {n, h, w, 3}, Role::fixed, false, [](Rng& r) { return double(r.below(256)); }, DType::u8};
  c.inputs = {x};
  Slot rows = output("rows", {n, h, to_w, 3}, Role::accum), y = output("y", {n, to_h, to_w, 3}, Role::accum);
  if (bytes) {
    rows.role = y.role = Role::fixed;
    rows.fixed = DType::u8, y.fixed = DType::f32;
  }
  c.outputs = {rows, y};
  c.forward = [](Run& r) { resize_bicubic(r.stream, {.x = r["x"], .rows = r["rows"], .y = r["y"]}); };
  c.bf16 = false;
  c.terms = 200;
  return c;
}
std::vector<OpCase> bicubic_cases() {
  std::vector<OpCase> cases;
  for (bool bytes : {false, true})
    for (OpCase c : {bicubic_case(1, 1, 1, 1, 1, bytes), bicubic_case(2, 31, 17, 14, 14, bytes),
                     bicubic_case(1, 9, 13, 28, 28, bytes), bicubic_case(1, 64, 64, 28, 28, bytes)})
      cases.push_back(c);
  return cases;
}

}  // namespace
MFL_OP_TESTS(Mix, mix_cases)
MFL_OP_TESTS(FillNormal, fill_normal_cases)
MFL_OP_TESTS(ImageBytes, bytes_cases)
MFL_OP_TESTS(SamplePosterior, posterior_cases)
MFL_OP_TESTS(WeightedMse, weighted_mse_cases)
MFL_OP_TESTS(EmaUpdate, ema_cases)
MFL_OP_TESTS(Fit, fit_cases)
MFL_OP_TESTS(SoftmaxRows, softmax_cases)
MFL_OP_TESTS(NoiseEmbedding, noise_embedding_cases)
MFL_OP_TESTS(ResizeBicubic, bicubic_cases)

namespace {

TEST(FillNormal, IsTheGeneratorsStreamWhateverTheBatch) {
  const Stream s = Stream::create(kCpu, "test");
  Tensor x = Tensor::on_heap({2, 5}, DType::f64), streams = Tensor::on_heap({2}, DType::i32);
  streams.data<std::int32_t>()[0] = 9, streams.data<std::int32_t>()[1] = 4;
  fill_normal(s, {.x = x, .streams = streams, .seed = 3, .purpose = Draw::sampler, .step = 12});
  for (std::uint64_t i = 0; i < 5; ++i) {
    EXPECT_EQ(x.data<double>()[i], Rng(3, Draw::sampler, 12, 9).normal_at(i));
    EXPECT_EQ(x.data<double>()[5 + i], Rng(3, Draw::sampler, 12, 4).normal_at(i));
  }
}

TEST(ImageBytes, TruncateAsThePipelineDoesAndRoundOnTheWayOut) {
  const Stream s = Stream::create(kCpu, "test");
  const float values[] = {-0.5f, 0, 0.5f, 0.999f, 1, 2, NAN};
  const int truncated[] = {0, 0, 127, 254, 255, 255, 0}, rounded[] = {0, 0, 128, 255, 255, 255, 0};   // 127.5 to even
  Tensor y = Tensor::on_heap({7}, DType::u8);
  for (bool round : {false, true}) {
    to_bytes(s, {.x = make_view(static_cast<const void*>(values), {7}, DType::f32), .round = round, .y = y});
    for (int i = 0; i < 7; ++i) EXPECT_EQ(y.data<std::uint8_t>()[i], (round ? rounded : truncated)[i]) << i;
  }
}

TEST(Mix, AWeightOfZeroDoesNotRead) {
  const Stream s = Stream::create(kCpu, "test");
  Tensor a = Tensor::on_heap({1, 1}, DType::f64), b = Tensor::on_heap({1, 1}, DType::f64), w = Tensor::on_heap({1, 2}, DType::f64);
  a.data<double>()[0] = NAN, b.data<double>()[0] = 3, w.data<double>()[0] = 0, w.data<double>()[1] = 2;
  mix(s, {.x = {a, b}, .weights = w, .y = b});
  EXPECT_EQ(b.data<double>()[0], 6);
}

TEST(SoftmaxRows, ForgetsAConstantAndSumsToOne) {
  const Stream s = Stream::create(kCpu, "test");
  Tensor x = Tensor::on_heap({1, 3}, DType::f64), y = Tensor::on_heap({1, 3}, DType::f64), z = Tensor::on_heap({1, 3}, DType::f64);
  for (int i = 0; i < 3; ++i) x.data<double>()[i] = i;
  softmax_fwd(s, {.x = x, .scale = 2, .y = y});
  for (int i = 0; i < 3; ++i) x.data<double>()[i] = i + 1000;
  softmax_fwd(s, {.x = x, .scale = 2, .y = z});
  double sum = 0;
  for (int i = 0; i < 3; ++i) {
    sum += y.data<double>()[i];
    EXPECT_NEAR(y.data<double>()[i], z.data<double>()[i], 1e-12);
  }
  EXPECT_NEAR(sum, 1, 1e-12);
}

}  // namespace
}  // namespace mfl::test
