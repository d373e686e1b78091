#include "kernels/norm/layer_norm.h"

#include "tests/support/op_case.h"

namespace mfl::test {
namespace {

OpCase layer_norm_case(std::int64_t rows, std::int64_t channels, bool bias) {
  OpCase c;
  c.name = text('R', rows, "_C", channels, bias ? "_bias" : "");
  c.inputs = {{"x", {rows, channels}, Role::accum},
              {"weight", {channels}, Role::accum, true, [](Rng& r) { return 1 + 0.2 * r.normal(); }}};
  if (bias) c.inputs.push_back({"bias", {channels}, Role::accum});
  c.outputs = {{"y", {rows, channels}}, {"mean", {rows}, Role::accum, false}, {"rstd", {rows}, Role::accum, false}};
  c.forward = [bias](Run& r) {
    layer_norm_fwd(r.stream, {.x = r["x"], .weight = r["weight"], .bias = bias ? ConstView(r["bias"]) : ConstView{},
                              .y = r["y"], .mean = r["mean"], .rstd = r["rstd"]});
  };
  c.backward = [bias, rows, channels](Run& r) {
    layer_norm_bwd(r.stream, {.x = r["x"], .weight = r["weight"], .mean = r["mean"], .rstd = r["rstd"], .dy = r["dy"],
                              .dx = r["dx"], .dx_mode = r.mode, .dweight = r["dweight"],
                              .dbias = bias ? r["dbias"] : View{}, .dw_mode = r.mode,
                              .scratch = r.scratch({layer_norm_bwd_scratch(rows, channels)}, DType::f32)});
  };
  const double rc = double(rows) * double(channels);
  c.bytes_fwd = 6 * rc, c.flops_fwd = 8 * rc, c.bytes_bwd = 16 * rc, c.flops_bwd = 16 * rc;
  c.terms = double(std::max(rows, channels));
  return c;
}

std::vector<OpCase> layer_norm_cases() {
  std::vector<OpCase> cases;
  for (std::int64_t rows : {1, 3, 33, 129})
    for (std::int64_t channels : {5, 31, 64, 127, 128, 1024}) cases.push_back(layer_norm_case(rows, channels, rows == 33));
  for (std::int64_t channels : {256, 512, 2048}) cases.push_back(layer_norm_case(70, channels, false));
  OpCase real = layer_norm_case(24578, 1024, false);
  real.bench_only = true;
  cases.push_back(real);
  return cases;
}

}  // namespace
MFL_OP_TESTS(LayerNorm, layer_norm_cases)

namespace {
TEST(LayerNorm, IgnoresShiftAndPositiveScaleOfItsInput) {
  const Stream s = Stream::create(kCpu, "test");
  double x[4] = {1, -2, 5, 0.5}, z[4], w[4] = {1, 1, 1, 1}, y[4], v[4];
  for (int i = 0; i < 4; ++i) z[i] = 3 * x[i] + 7;
  const Shape shape{1, 4};
  auto view = [&](double* p, Shape sh) { return make_view(p, sh, DType::f64); };
  layer_norm_fwd(s, {.x = view(x, shape), .weight = view(w, {4}), .eps = 0, .y = view(y, shape)});
  layer_norm_fwd(s, {.x = view(z, shape), .weight = view(w, {4}), .eps = 0, .y = view(v, shape)});
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(y[i], v[i], 1e-12);
}
TEST(LayerNorm, NamesTheWrongShape) {
  const Stream s = Stream::create(kCpu, "test");
  double x[6] = {}, w[2] = {}, y[6];
  try {
    layer_norm_fwd(s, {.x = make_view(x, {2, 3}, DType::f64), .weight = make_view(w, {2}, DType::f64),
                       .y = make_view(y, {2, 3}, DType::f64)});
    FAIL();
  } catch (const ShapeError& e) {
    EXPECT_NE(std::string(e.what()).find("layer_norm_fwd: weight [2], expected [3]"), std::string::npos) << e.what();
  }
}
}  // namespace
}  // namespace mfl::test
