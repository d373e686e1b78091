#include "kernels/attention/attention.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "tests/support/op_case.h"

namespace mfl::test {
namespace {

void count(OpCase& c, std::int64_t b, std::int64_t tq, std::int64_t tk, std::int64_t a, std::int64_t d) {
  const double pairs = double(b) * double(a) * double(tq) * double(tk) * double(d);
  const double rows = double(b) * double(a) * double(d) * 2;  // bytes of one row of every head in bf16
  c.flops_fwd = 4 * pairs, c.flops_bwd = 10 * pairs;
  c.bytes_fwd = rows * double(2 * tq + 2 * tk), c.bytes_bwd = rows * double(4 * tq + 4 * tk);
  c.terms = double(std::max({tq, tk, d}));
  c.modes = false;
}

// Self attention on a packed [B, T, 3, A, D], as the transformer uses it.
OpCase packed_case(std::int64_t b, std::int64_t t, std::int64_t a, std::int64_t d) {
  OpCase c;
  c.name = text("packed_B", b, "_T", t, "_A", a, "_D", d);
  c.inputs = {{"qkv", {b, t, 3, a, d}}};
  c.outputs = {{"y", {b, t, a, d}}, {"lse", {b, a, t}, Role::accum, false}};
  c.forward = [](Run& r) {
    const View x = r["qkv"];
    attention_fwd(
        r.stream,
        {.q = packed_part(x, 0), .k = packed_part(x, 1), .v = packed_part(x, 2), .y = r["y"], .lse = r["lse"]});
  };
  c.backward = [=](Run& r) {
    const View x = r["qkv"], dx = r["dqkv"];
    attention_bwd(r.stream, {.q = packed_part(x, 0),
                             .k = packed_part(x, 1),
                             .v = packed_part(x, 2),
                             .y = r["y"],
                             .dy = r["dy"],
                             .lse = r["lse"],
                             .dq = packed_part(dx, 0),
                             .dk = packed_part(dx, 1),
                             .dv = packed_part(dx, 2),
                             .scratch = r.scratch({attention_bwd_scratch(b, a, t)}, DType::f32)});
  };
  count(c, b, t, t, a, d);
  return c;
}

// Cross attention on tensors of their own, with a scale of the caller's.
OpCase cross_case(std::int64_t b, std::int64_t tq, std::int64_t tk, std::int64_t a, std::int64_t d, float scale) {
  OpCase c;
  c.name = text("cross_B", b, "_Tq", tq, "_Tk", tk, "_A", a, "_D", d);
  c.inputs = {{"q", {b, tq, a, d}}, {"k", {b, tk, a, d}}, {"v", {b, tk, a, d}}};
  c.outputs = {{"y", {b, tq, a, d}}, {"lse", {b, a, tq}, Role::accum, false}};
  c.forward = [=](Run& r) {
    attention_fwd(r.stream, {.q = r["q"], .k = r["k"], .v = r["v"], .scale = scale, .y = r["y"], .lse = r["lse"]});
  };
  c.backward = [=](Run& r) {
    attention_bwd(r.stream, {.q = r["q"],
                             .k = r["k"],
                             .v = r["v"],
                             .y = r["y"],
                             .dy = r["dy"],
                             .lse = r["lse"],
                             .scale = scale,
                             .dq = r["dq"],
                             .dk = r["dk"],
                             .dv = r["dv"],
                             .scratch = r.scratch({attention_bwd_scratch(b, a, tq)}, DType::f32)});
  };
  count(c, b, tq, tk, a, d);
  return c;
}

std::vector<OpCase> attention_cases() {
  std::vector<OpCase> cases;
  // One key: softmax is constant and dq, dk are zero, which only the packed form can compare (dv beside them is not).
  for (std::int64_t t : {1, 3, 33, 113, 129, 203}) cases.push_back(packed_case(1, t, 2, 64));
  cases.push_back(packed_case(2, 65, 3, 32));
  cases.push_back(packed_case(2, 130, 1, 128));
  cases.push_back(packed_case(3, 97, 2, 64));
  cases.push_back(cross_case(2, 33, 129, 2, 64, 0.3f));
  cases.push_back(cross_case(1, 203, 3, 2, 64, 0.125f));
  cases.push_back(cross_case(2, 5, 77, 2, 32, 0.2f));
  cases.push_back(cross_case(1, 129, 257, 1, 128, 0.1f));
  OpCase real = packed_case(1, 24578, 16, 64);  // GS-LRM: 6 views of 512 x 512 in patches of 8, and 2 tokens
  real.bench_only = true;
  cases.push_back(real);
  // The multi-view UNet, 8 objects of 6 views, outermost level: text, and the other views to the first one.
  for (OpCase unet : {cross_case(48, 4096, 77, 5, 64, 0.125f), cross_case(8, 5 * 4096, 4096, 5, 64, 0.125f)}) {
    unet.bench_only = true;
    cases.push_back(unet);
  }
  return cases;
}

}  // namespace
MFL_OP_TESTS(Attention, attention_cases)

namespace {

// Self attention of one head in f64 on the CPU; k and v rows taken in the order given.
struct Small {
  static constexpr std::int64_t kT = 7, kD = 32;
  std::vector<double> q, k, v, y = std::vector<double>(kT * kD), lse = std::vector<double>(kT);
  Small() {
    Rng rng(1, Draw::test, 0, 0);
    for (auto* x : {&q, &k, &v}) {
      x->resize(kT * kD);
      for (double& e : *x) e = rng.normal();
    }
  }
  void run() {
    const Stream s = Stream::create(kCpu, "test");
    auto view = [](std::vector<double>& x) { return make_view(x.data(), {1, kT, 1, kD}, DType::f64); };
    attention_fwd(
        s,
        {.q = view(q), .k = view(k), .v = view(v), .y = view(y), .lse = make_view(lse.data(), {1, 1, kT}, DType::f64)});
  }
};

TEST(Attention, DoesNotDependOnTheOrderOfKeys) {
  Small plain, permuted;
  for (std::int64_t t = 0; t < Small::kT; ++t)
    for (std::int64_t d = 0; d < Small::kD; ++d) {
      const std::int64_t from = (3 * t + 2) % Small::kT;
      permuted.k[t * Small::kD + d] = plain.k[from * Small::kD + d];
      permuted.v[t * Small::kD + d] = plain.v[from * Small::kD + d];
    }
  plain.run(), permuted.run();
  for (std::size_t i = 0; i < plain.y.size(); ++i) EXPECT_NEAR(plain.y[i], permuted.y[i], 1e-13);
}

// One vector added to every key adds the same number to all logits of a query: the softmax stays, lse moves by it.
TEST(Attention, IgnoresAConstantAddedToTheLogits) {
  Small plain, moved;
  Rng rng(2, Draw::test, 0, 0);
  std::vector<double> shift(Small::kD);
  for (double& e : shift) e = 10 * rng.normal();
  for (std::int64_t t = 0; t < Small::kT; ++t)
    for (std::int64_t d = 0; d < Small::kD; ++d) moved.k[t * Small::kD + d] += shift[d];
  plain.run(), moved.run();
  for (std::size_t i = 0; i < plain.y.size(); ++i) EXPECT_NEAR(plain.y[i], moved.y[i], 1e-12);
  for (std::int64_t t = 0; t < Small::kT; ++t) {
    const double logit = std::inner_product(shift.begin(), shift.end(), plain.q.begin() + t * Small::kD, 0.0);
    EXPECT_NEAR(moved.lse[t] - plain.lse[t], logit / std::sqrt(double(Small::kD)), 1e-12);
  }
}

TEST(Attention, AveragesTheValuesWhereQueriesAreZero) {
  Small s;
  std::fill(s.q.begin(), s.q.end(), 0.0);
  s.run();
  for (std::int64_t d = 0; d < Small::kD; ++d) {
    double mean = 0;
    for (std::int64_t t = 0; t < Small::kT; ++t) mean += s.v[t * Small::kD + d] / Small::kT;
    EXPECT_NEAR(s.y[d], mean, 1e-14);
  }
  EXPECT_NEAR(s.lse[0], std::log(double(Small::kT)), 1e-14);
}

// Logits up to a thousand, beyond what exp can hold.
TEST(Attention, StaysFiniteForLargeLogits) {
  Small s;
  for (double& e : s.q) e *= 500;
  s.run();
  for (double e : s.y) EXPECT_TRUE(std::isfinite(e));
}

TEST(Attention, NamesAHeadSizeThatItDoesNotHave) {
  const Stream s = Stream::create(kCpu, "test");
  double x[48] = {};
  const View v = make_view(x, {1, 1, 1, 48}, DType::f64);
  try {
    attention_fwd(s, {.q = v, .k = v, .v = v, .y = v});
    FAIL();
  } catch (const ShapeError& e) {
    EXPECT_NE(std::string(e.what()).find("attention_fwd: head size 48, expected 32, 64 or 128"), std::string::npos)
        << e.what();
  }
}

// Against torch.nn.functional.scaled_dot_product_attention in f64 (PyTorch 2, CPU), T = 3, D = 32, on
//   q[t][d] = sin(1 + 0.7 t + 0.3 d), k = cos(2 + 1.1 t + 0.2 d), v = sin(0.5 t - 0.9 d), dy = cos(0.4 t + 0.6 d):
// the first two values of every row, and the sum over the row.
TEST(Attention, GoldenEqualsPyTorch) {
  constexpr std::int64_t kT = 3, kD = 32;
  std::vector<double> q, k, v, dy, y(kT * kD), dq(kT * kD), dk(kT * kD), dv(kT * kD), lse(kT);
  for (int t = 0; t < kT; ++t)
    for (int d = 0; d < kD; ++d) {
      q.push_back(std::sin(1 + 0.7 * t + 0.3 * d)), k.push_back(std::cos(2 + 1.1 * t + 0.2 * d));
      v.push_back(std::sin(0.5 * t - 0.9 * d)), dy.push_back(std::cos(0.4 * t + 0.6 * d));
    }
  const Stream s = Stream::create(kCpu, "test");
  auto view = [](std::vector<double>& x) { return make_view(x.data(), {1, kT, 1, kD}, DType::f64); };
  const View gLse = make_view(lse.data(), {1, 1, kT}, DType::f64);
  attention_fwd(s, {.q = view(q), .k = view(k), .v = view(v), .y = view(y), .lse = gLse});
  attention_bwd(s, {.q = view(q),
                    .k = view(k),
                    .v = view(v),
                    .y = view(y),
                    .dy = view(dy),
                    .lse = gLse,
                    .dq = view(dq),
                    .dk = view(dk),
                    .dv = view(dv)});
  using Expected = double[kT][3];
  auto expect = [](const char* name, const std::vector<double>& x, const Expected& rows) {
    for (std::int64_t t = 0; t < kT; ++t) {
      EXPECT_NEAR(x[t * kD], rows[t][0], 1e-13) << name << " row " << t;
      EXPECT_NEAR(x[t * kD + 1], rows[t][1], 1e-13) << name << " row " << t;
      EXPECT_NEAR(std::accumulate(x.begin() + t * kD, x.begin() + (t + 1) * kD, 0.0), rows[t][2], 1e-13)
          << name << " row " << t;
    }
  };
  expect("y", y,
         {{0.137367080708658, -0.654114294697538, -2.00252413767716},
          {0.162056163462794, -0.63889475468111, -1.99267986833199},
          {0.299700945388403, -0.519776610733897, -1.84237382072362}});
  expect("dq", dq,
         {{-0.00780862895029415, 0.00409936082018152, -0.00600011091681574},
          {-0.018726998824612, -0.0043853517134971, -0.0126499222419771},
          {-0.0249399211720301, -0.00543328164430281, -0.0168965003853898}});
  expect("dk", dk,
         {{-0.13557745177055, -0.117568561286295, 0.212763181601307},
          {0.0627649144303175, 0.0520714538716888, -0.151546209443181},
          {0.0728125373402329, 0.065497107414606, -0.061216972158128}});
  expect("dv", dv,
         {{1.73714838316272, 1.09895700913996, 1.06030094493313},
          {0.6783161009542, 0.319170130275091, 0.428318329100831},
          {0.202303219233133, 0.117477924263005, 0.124845209014052}});
  const double expected[kT] = {0.832348110654445, 1.70754535498251, 2.31333851892827};
  for (std::int64_t t = 0; t < kT; ++t) EXPECT_NEAR(lse[t], expected[t], 1e-13);
}
}  // namespace
}  // namespace mfl::test
