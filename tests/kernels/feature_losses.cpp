// Losses on feature maps: L1 and the LPIPS head.
#include "kernels/loss/feature_distance.h"
#include "kernels/loss/l1.h"
#include "tests/support/op_case.h"
#include "tests/support/scalar.h"

namespace mfl::test {
namespace {

OpCase l1_case(std::int64_t rows, std::int64_t channels) {
  OpCase c;
  c.name = text('R', rows, "_C", channels);
  const double scale = 1.0 / double(rows * channels);
  c.inputs = {{"a", {rows, channels}}, {"b", {rows, channels}, Role::work, false}};
  c.outputs = {{"loss", {1}, Role::accum}};
  c.forward = [=](Run& r) {
    l1_fwd(r.stream, {.a = r["a"], .b = r["b"], .scale = scale, .loss = r["loss"],
                      .scratch = r.scratch({l1_scratch(rows * channels)}, DType::f32)});
  };
  c.backward = [=](Run& r) {
    l1_bwd(r.stream, {.a = r["a"], .b = r["b"], .scale = scale, .weight = host_value(r.stream, r["dloss"]), .da = r["da"],
                      .da_mode = r.mode});
  };
  c.terms = double(rows * channels);
  c.bytes_fwd = 4 * double(rows * channels), c.bytes_bwd = 6 * double(rows * channels);
  return c;
}
std::vector<OpCase> l1_cases() {
  OpCase real = l1_case(std::int64_t{512} * 512, 64);
  real.bench_only = true;
  return {l1_case(1, 1), l1_case(3, 31), l1_case(129, 64), l1_case(1000, 17), real};
}

OpCase feature_distance_case(std::int64_t rows, std::int64_t channels) {
  OpCase c;
  c.name = text('R', rows, "_C", channels);
  const double scale = 1.0 / double(rows);
  c.inputs = {{"a", {rows, channels}},
              {"b", {rows, channels}, Role::work, false},
              {"head", {channels}, Role::accum, false, [](Rng& r) { return double(r.uniform()); }}};
  c.outputs = {{"loss", {1}, Role::accum}};
  c.forward = [=](Run& r) {
    feature_distance_fwd(r.stream, {.a = r["a"], .b = r["b"], .head = r["head"], .scale = scale, .loss = r["loss"],
                                    .scratch = r.scratch({feature_distance_scratch(rows)}, DType::f32)});
  };
  c.backward = [=](Run& r) {
    feature_distance_bwd(r.stream, {.a = r["a"], .b = r["b"], .head = r["head"], .scale = scale,
                                    .weight = host_value(r.stream, r["dloss"]), .da = r["da"], .da_mode = r.mode});
  };
  // With few channels the gradient is the small difference of g and its part along a: it cancels most of its digits.
  c.terms = std::max(double(rows * channels), channels < 8 ? 4096.0 : 0.0);
  c.bytes_fwd = 4 * double(rows * channels), c.bytes_bwd = 6 * double(rows * channels);
  return c;
}
std::vector<OpCase> feature_distance_cases() {
  std::vector<OpCase> cases;
  for (std::int64_t rows : {1, 3, 129})
    for (std::int64_t channels : {2, 31, 64, 512}) cases.push_back(feature_distance_case(rows, channels));
  OpCase real = feature_distance_case(std::int64_t{512} * 512, 64);
  real.bench_only = true;
  cases.push_back(real);
  return cases;
}

}  // namespace
MFL_OP_TESTS(L1, l1_cases)
MFL_OP_TESTS(FeatureDistance, feature_distance_cases)

namespace {

struct Features {
  Stream s = Stream::create(kCpu, "test");
  double a[6] = {1, 2, -1, 0, 0, 0}, b[6] = {0.5, 1, 3, 1, 2, 2}, head[3] = {1, 0.5, 2}, loss[1] = {0}, da[6];
  View view(double* p, Shape shape) { return make_view(p, shape, DType::f64); }
  double distance(GradMode mode = GradMode::overwrite) {
    feature_distance_fwd(s, {.a = view(a, {2, 3}), .b = view(b, {2, 3}), .head = view(head, {3}), .loss = view(loss, {1}),
                             .loss_mode = mode});
    return loss[0];
  }
};

TEST(FeatureDistance, IgnoresTheLengthOfAPixel) {
  Features f;
  const double before = f.distance();
  for (int c = 0; c < 3; ++c) f.a[c] *= 7;
  EXPECT_NEAR(f.distance(), before, 1e-9);
}
TEST(FeatureDistance, ChunksAdd) {
  Features f;
  const double once = f.distance();
  EXPECT_EQ(f.distance(GradMode::accumulate), 2 * once);
}
TEST(FeatureDistance, AnEmptyPixelHasAFiniteGradient) {
  Features f;
  feature_distance_bwd(f.s, {.a = f.view(f.a, {2, 3}), .b = f.view(f.b, {2, 3}), .head = f.view(f.head, {3}),
                             .da = f.view(f.da, {2, 3})});
  for (double g : f.da) EXPECT_TRUE(std::isfinite(g));
}
TEST(L1, HasNoGradientWhereBothAgree) {
  Features f;
  f.b[1] = f.a[1];
  l1_bwd(f.s, {.a = f.view(f.a, {6}), .b = f.view(f.b, {6}), .scale = 0.5, .weight = 4, .da = f.view(f.da, {6})});
  const double expected[6] = {2, 0, -2, -2, -2, -2};
  for (int i = 0; i < 6; ++i) EXPECT_EQ(f.da[i], expected[i]);
}

}  // namespace
}  // namespace mfl::test
