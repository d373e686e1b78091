// The operations of a convolutional diffusion network beside convolution, matrix products and attention.
#include <cmath>

#include "kernels/attention/attention.h"
#include "kernels/attention/join.h"
#include "kernels/elementwise/geglu.h"
#include "kernels/elementwise/image_vector.h"
#include "kernels/elementwise/move_rows.h"
#include "kernels/elementwise/silu.h"
#include "kernels/embed/sinusoid.h"
#include "kernels/norm/group_norm.h"
#include "kernels/resample/upsample.h"
#include "tests/support/op_case.h"

namespace mfl::test {
namespace {

OpCase group_norm_case(Shape x, int groups, bool silu, double mean = 0) {
  OpCase c;
  c.name = text('N', x[0], "_P", x.rows() / x[0], "_C", x[-1], "_G", groups, silu ? "_silu" : "", mean != 0 ? "_shifted" : "");
  const Shape channels{x[-1]}, statistics{x[0], groups};
  c.inputs = {{"x", x, Role::work, true, [mean](Rng& r) { return mean + r.normal(); }},
              {"weight", channels, Role::accum, true, [](Rng& r) { return 1 + 0.2 * r.normal(); }},
              {"bias", channels, Role::accum}};
  c.outputs = {{"y", x}, {"mean", statistics, Role::accum, false}, {"rstd", statistics, Role::accum, false}};
  c.forward = [=](Run& r) {
    group_norm_fwd(r.stream, {.x = r["x"], .groups = groups, .weight = r["weight"], .bias = r["bias"], .silu = silu,
                              .y = r["y"], .mean = r["mean"], .rstd = r["rstd"],
                              .scratch = r.scratch({group_norm_fwd_scratch(x, groups)}, DType::f32)});
  };
  c.backward = [=](Run& r) {
    group_norm_bwd(r.stream, {.x = r["x"], .groups = groups, .weight = r["weight"], .bias = r["bias"], .mean = r["mean"],
                              .rstd = r["rstd"], .silu = silu, .dy = r["dy"], .dx = r["dx"], .dx_mode = r.mode,
                              .dweight = r["dweight"], .dbias = r["dbias"], .dw_mode = r.mode,
                              .scratch = r.scratch({group_norm_bwd_scratch(x, groups)}, DType::f32)});
  };
  const double n = double(x.numel());
  c.bytes_fwd = 4 * n, c.bytes_bwd = 6 * n, c.flops_fwd = 8 * n, c.flops_bwd = 16 * n;
  c.terms = n / double(groups);
  return c;
}

std::vector<OpCase> group_norm_cases() {
  std::vector<OpCase> cases = {
      group_norm_case({1, 1, 1, 12}, 2, false),      group_norm_case({2, 3, 5, 6}, 3, true),
      group_norm_case({3, 4, 4, 64}, 32, true),     group_norm_case({2, 7, 9, 64}, 32, false),
      group_norm_case({2, 40, 13, 40}, 4, true),    group_norm_case({1, 20, 20, 320}, 32, true),
      group_norm_case({2, 3, 3, 1280}, 32, true),   group_norm_case({1, 2, 3, 2560}, 32, true),
      group_norm_case({1, 4, 4, 31}, 1, true),      group_norm_case({2, 30, 64}, 8, false, 50),
      group_norm_case({1, 600, 2304}, 32, false),   group_norm_case({1, 9, 4112}, 16, true)};
  for (Shape x : {Shape{48, 64, 64, 320}, Shape{48, 32, 32, 640}, Shape{48, 16, 16, 1280}, Shape{48, 64, 64, 960}}) {
    OpCase real = group_norm_case(x, 32, true);
    real.bench_only = true;
    cases.push_back(real);
  }
  return cases;
}

OpCase silu_case(std::int64_t n) {
  OpCase c;
  c.name = text('n', n);
  c.inputs = {{"x", {n}}};
  c.outputs = {{"y", {n}}};
  c.forward = [](Run& r) { silu_fwd(r.stream, {.x = r["x"], .y = r["y"]}); };
  c.backward = [](Run& r) { silu_bwd(r.stream, {.x = r["x"], .dy = r["dy"], .dx = r["dx"], .dx_mode = r.mode}); };
  c.bytes_fwd = 4 * double(n), c.bytes_bwd = 6 * double(n);
  return c;
}
std::vector<OpCase> silu_cases() { return {silu_case(1), silu_case(7), silu_case(1280), silu_case(4099)}; }

OpCase geglu_case(std::int64_t rows, std::int64_t channels) {
  OpCase c;
  c.name = text('R', rows, "_C", channels);
  c.inputs = {{"x", {rows, 2 * channels}}};
  c.outputs = {{"y", {rows, channels}}};
  c.forward = [](Run& r) { geglu_fwd(r.stream, {.x = r["x"], .y = r["y"]}); };
  c.backward = [](Run& r) { geglu_bwd(r.stream, {.x = r["x"], .dy = r["dy"], .dx = r["dx"], .dx_mode = r.mode}); };
  const double n = double(rows * channels);
  c.bytes_fwd = 6 * n, c.bytes_bwd = 10 * n;
  return c;
}
std::vector<OpCase> geglu_cases() {
  std::vector<OpCase> cases = {geglu_case(1, 1), geglu_case(5, 7), geglu_case(33, 64), geglu_case(17, 260), geglu_case(3, 1000)};
  OpCase real = geglu_case(48 * 4096, 1280);
  real.bench_only = true;
  cases.push_back(real);
  return cases;
}

// Columns [0, C) of a wider y from columns [skip, skip + C) of a wider x.
OpCase move_case(std::int64_t rows, std::int64_t channels, std::int64_t skip) {
  OpCase c;
  const std::int64_t wide = channels + 2 * skip;
  c.name = text('R', rows, "_C", channels, "_of", wide);
  c.inputs = {{"x", {rows, wide}}};
  c.outputs = {{"y", {rows, channels}}};
  c.forward = [=](Run& r) { move_rows(r.stream, {.x = columns(r["x"], skip, channels), .y = r["y"]}); };
  c.backward = [=](Run& r) {
    if (r.mode == GradMode::overwrite) fill_zero(r.stream, r["dx"]);
    move_rows(r.stream, {.x = r["dy"], .y = columns(r["dx"], skip, channels), .mode = r.mode});
  };
  c.bytes_fwd = 4 * double(rows * channels), c.bytes_bwd = c.bytes_fwd;
  return c;
}
std::vector<OpCase> move_cases() { return {move_case(1, 1, 0), move_case(5, 3, 2), move_case(33, 64, 8), move_case(7, 320, 640)}; }

OpCase image_vector_case(Shape x) {
  OpCase c;
  c.name = text('N', x[0], "_P", x.rows() / x[0], "_C", x[-1]);
  c.inputs = {{"x", x}, {"v", {x[0], x[-1]}}};
  c.outputs = {{"y", x}};
  c.forward = [](Run& r) {
    copy(r.stream, r["x"], r["y"]);
    add_image_vector(r.stream, {.x = r["y"], .v = r["v"]});
  };
  c.backward = [](Run& r) {
    const ConstView dy = r["dy"];
    const View dx = r["dx"];
    const std::int64_t n = dy.numel();
    move_rows(r.stream, {.x = reshape(dy, {1, n}), .y = reshape(dx, {1, n}), .mode = r.mode});
    sum_image_vector(r.stream, {.dx = dy, .dv = r["dv"], .dv_mode = r.mode});
  };
  c.terms = double(x.rows() / x[0]);
  c.bytes_fwd = 4 * double(x.numel()), c.bytes_bwd = 2 * double(x.numel());
  return c;
}
std::vector<OpCase> image_vector_cases() {
  return {image_vector_case({1, 1, 1, 1}), image_vector_case({3, 4, 5, 7}), image_vector_case({2, 9, 9, 64}),
          image_vector_case({2, 50, 320})};
}

OpCase upsample_case(Shape x) {
  OpCase c;
  c.name = text('N', x[0], "_H", x[1], "_W", x[2], "_C", x[3]);
  c.inputs = {{"x", x}};
  c.outputs = {{"y", {x[0], 2 * x[1], 2 * x[2], x[3]}}};
  c.forward = [](Run& r) { upsample2x_fwd(r.stream, {.x = r["x"], .y = r["y"]}); };
  c.backward = [](Run& r) { upsample2x_bwd(r.stream, {.dy = r["dy"], .dx = r["dx"], .dx_mode = r.mode}); };
  c.bytes_fwd = 10 * double(x.numel()), c.bytes_bwd = c.bytes_fwd;
  return c;
}
std::vector<OpCase> upsample_cases() {
  return {upsample_case({1, 1, 1, 1}), upsample_case({2, 3, 5, 3}), upsample_case({3, 4, 2, 64}), upsample_case({1, 7, 7, 20})};
}

OpCase sinusoid_case(std::int64_t n, std::int64_t channels) {
  OpCase c;
  c.name = text('N', n, "_C", channels);
  c.inputs = {{"t", {n}, Role::fixed, false, [](Rng& r) { return double(std::lround(500 + 150 * r.normal())); }, DType::i32}};
  c.outputs = {{"y", {n, channels}, Role::work, false}};
  c.forward = [](Run& r) { sinusoid(r.stream, {.t = r["t"], .y = r["y"]}); };
  return c;
}
std::vector<OpCase> sinusoid_cases() { return {sinusoid_case(1, 2), sinusoid_case(6, 320), sinusoid_case(5, 14)}; }

OpCase join_case(std::int64_t objects, std::int64_t views, std::int64_t tokens, std::int64_t heads, std::int64_t size) {
  OpCase c;
  c.name = text('O', objects, "_V", views, "_T", tokens, "_A", heads, "_D", size);
  const std::int64_t others = (views - 1) * tokens;
  const Shape y{objects, views, tokens, heads, size}, a{objects, views, heads, tokens}, b{objects, heads, others};
  c.inputs = {{"ya", y, Role::work, false}, {"lsea", a, Role::accum, false},
              {"yb", {objects, others, heads, size}, Role::work, false}, {"lseb", b, Role::accum, false}};
  c.outputs = {{"y", y, Role::work, false}, {"joineda", a, Role::accum, false}, {"joinedb", b, Role::accum, false}};
  c.forward = [](Run& r) {
    attention_join(r.stream, {.y_a = r["ya"], .lse_a = r["lsea"], .y_b = r["yb"], .lse_b = r["lseb"], .y = r["y"],
                              .joined_a = r["joineda"], .joined_b = r["joinedb"]});
  };
  c.terms = 16;
  c.bytes_fwd = 6 * double(y.numel());
  return c;
}
std::vector<OpCase> join_cases() { return {join_case(1, 2, 1, 1, 32), join_case(2, 6, 5, 3, 64), join_case(3, 3, 33, 2, 7)}; }

}  // namespace
MFL_OP_TESTS(GroupNorm, group_norm_cases)
MFL_OP_TESTS(Silu, silu_cases)
MFL_OP_TESTS(Geglu, geglu_cases)
MFL_OP_TESTS(MoveRows, move_cases)
MFL_OP_TESTS(ImageVector, image_vector_cases)
MFL_OP_TESTS(Upsample2x, upsample_cases)
MFL_OP_TESTS(Sinusoid, sinusoid_cases)
MFL_OP_TESTS(AttentionJoin, join_cases)

namespace {

TEST(GroupNorm, OneGroupAChannelStandardisesEachChannel) {
  const Stream s = Stream::create(kCpu, "test");
  double x[2 * 3] = {1, 10, 2, 20, 6, 60}, w[2] = {1, 2}, b[2] = {0, 5}, y[6];
  group_norm_fwd(s, {.x = make_view(x, {1, 3, 2}, DType::f64), .groups = 2, .weight = make_view(w, {2}, DType::f64),
                     .bias = make_view(b, {2}, DType::f64), .eps = 0, .y = make_view(y, {1, 3, 2}, DType::f64)});
  for (int p = 0; p < 3; ++p) {
    const double z = (x[2 * p] - 3) / std::sqrt(14.0 / 3);
    EXPECT_NEAR(y[2 * p], z, 1e-12);
    EXPECT_NEAR(y[2 * p + 1], 2 * z + 5, 1e-12);
  }
}
TEST(GroupNorm, NamesGroupsThatDoNotDivide) {
  const Stream s = Stream::create(kCpu, "test");
  double x[6] = {}, w[6] = {};
  try {
    group_norm_fwd(s, {.x = make_view(x, {1, 1, 6}, DType::f64), .groups = 4, .weight = make_view(w, {6}, DType::f64),
                       .bias = make_view(w, {6}, DType::f64), .y = make_view(x, {1, 1, 6}, DType::f64)});
    FAIL();
  } catch (const ShapeError& e) {
    EXPECT_NE(std::string(e.what()).find("4 groups do not divide 6 channels"), std::string::npos) << e.what();
  }
}
TEST(Sinusoid, CosinesComeFirst) {
  const Stream s = Stream::create(kCpu, "test");
  double t[1] = {2}, y[4];
  sinusoid(s, {.t = make_view(t, {1}, DType::f64), .y = make_view(y, {1, 4}, DType::f64)});
  const double expected[4] = {std::cos(2.0), std::cos(0.02), std::sin(2.0), std::sin(0.02)};
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(y[i], expected[i], 1e-12);
}

}  // namespace
}  // namespace mfl::test
