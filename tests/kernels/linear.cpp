#include "kernels/gemm/linear.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/elementwise/cast.h"
#include "tests/support/op_case.h"

namespace mfl::test {
namespace {

// accum_y: y is the residual stream, of the accum type, and the product is added to it.
OpCase linear_case(std::int64_t rows, std::int64_t k, std::int64_t n, bool bias, bool accum_y,
                   bool bench_only = false) {
  OpCase c;
  c.name = text('R', rows, "_K", k, "_N", n, bias ? "_bias" : "", accum_y ? "_residual" : "");
  // The weight is a master, as its gradient is; the product reads a cast of it. Values that bf16 holds exactly, so that
  // the cast adds nothing to the parity rule's bound.
  auto weight_value = [k](Rng& r) { return double(bf16(r.normal() / std::sqrt(double(k)))); };
  auto weight = [n, k](Run& r) {
    View w = r.scratch({n, k}, r.work);
    cast(r.stream, {.x = r["weight"], .y = w});
    return w;
  };
  c.inputs = {{"x", {rows, k}}, {"weight", {n, k}, Role::accum, true, weight_value}};
  if (bias) c.inputs.push_back({"bias", {n}, Role::accum});
  if (accum_y) c.inputs.push_back({"residual", {rows, n}, Role::accum, false});
  c.outputs = {{"y", {rows, n}, accum_y ? Role::accum : Role::work}};
  c.forward = [=](Run& r) {
    if (accum_y) copy(r.stream, r["residual"], r["y"]);
    linear_fwd(r.stream, {.x = r["x"],
                          .weight = weight(r),
                          .bias = bias ? ConstView(r["bias"]) : ConstView{},
                          .y = r["y"],
                          .add = accum_y});
  };
  // The gradient of an accum-type y is cast to the compute type by the caller; only same-type cases have a backward
  // here.
  if (!accum_y)
    c.backward = [=](Run& r) {
      linear_bwd_input(r.stream, {.dy = r["dy"], .weight = weight(r), .dx = r["dx"], .dx_mode = r.mode});
      linear_bwd_weight(r.stream, {.x = r["x"],
                                   .dy = r["dy"],
                                   .dweight = r["dweight"],
                                   .dbias = bias ? r["dbias"] : View{},
                                   .dw_mode = r.mode});
    };
  const double product = 2.0 * double(rows) * double(k) * double(n);
  c.flops_fwd = product, c.flops_bwd = 2 * product;
  c.bytes_fwd = 2.0 * double(rows * k + n * k + rows * n), c.bytes_bwd = 2 * c.bytes_fwd;
  c.terms = double(std::max({rows, k, n}));
  c.bench_only = bench_only;
  return c;
}

std::vector<OpCase> linear_cases() {
  std::vector<OpCase> cases;
  for (std::int64_t rows : {1, 3, 31, 129})
    for (auto [k, n] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {5, 7}, {64, 33}, {127, 14}, {192, 256}}) {
      cases.push_back(linear_case(rows, k, n, rows == 31, false));
      if (rows == 129) cases.push_back(linear_case(rows, k, n, false, true));
    }
  for (auto [k, n] :
       {std::pair<std::int64_t, std::int64_t>{1024, 3072}, {1024, 1024}, {1024, 4096}, {4096, 1024}, {576, 1024}})
    cases.push_back(linear_case(24578, k, n, false, false, true));
  return cases;
}

}  // namespace
MFL_OP_TESTS(Linear, linear_cases)

namespace {

// The definition, one sum at a time.
TEST(Linear, IsTheTripleLoop) {
  const Stream s = Stream::create(kCpu, "test");
  const std::int64_t rows = 9, k = 13, n = 11;
  Rng rng(7, Draw::test);
  std::vector<double> x(rows * k), w(n * k), b(n), dy(rows * n), y(rows * n, 2.0), dx(rows * k), dw(n * k), db(n);
  for (auto* v : {&x, &w, &b, &dy})
    for (double& e : *v) e = rng.normal();
  auto view = [](std::vector<double>& v, Shape shape) { return make_view(v.data(), shape, DType::f64); };
  linear_fwd(
      s,
      {.x = view(x, {rows, k}), .weight = view(w, {n, k}), .bias = view(b, {n}), .y = view(y, {rows, n}), .add = true});
  linear_bwd_input(s, {.dy = view(dy, {rows, n}), .weight = view(w, {n, k}), .dx = view(dx, {rows, k})});
  linear_bwd_weight(
      s, {.x = view(x, {rows, k}), .dy = view(dy, {rows, n}), .dweight = view(dw, {n, k}), .dbias = view(db, {n})});
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 2.0 + b[j];
      for (std::int64_t i = 0; i < k; ++i) sum += x[r * k + i] * w[j * k + i];
      EXPECT_NEAR(y[r * n + j], sum, 1e-13);
    }
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t i = 0; i < k; ++i) {
      double sum = 0;
      for (std::int64_t j = 0; j < n; ++j) sum += dy[r * n + j] * w[j * k + i];
      EXPECT_NEAR(dx[r * k + i], sum, 1e-13);
    }
  for (std::int64_t j = 0; j < n; ++j) {
    double bias = 0;
    for (std::int64_t r = 0; r < rows; ++r) bias += dy[r * n + j];
    EXPECT_NEAR(db[j], bias, 1e-13);
    for (std::int64_t i = 0; i < k; ++i) {
      double sum = 0;
      for (std::int64_t r = 0; r < rows; ++r) sum += dy[r * n + j] * x[r * k + i];
      EXPECT_NEAR(dw[j * k + i], sum, 1e-13);
    }
  }
}

TEST(Linear, NamesBothShapes) {
  const Stream s = Stream::create(kCpu, "test");
  double x[14] = {}, w[32] = {}, y[8];
  try {
    linear_fwd(s, {.x = make_view(x, {2, 7}, DType::f64),
                   .weight = make_view(w, {4, 8}, DType::f64),
                   .y = make_view(y, {2, 4}, DType::f64)});
    FAIL();
  } catch (const ShapeError& e) {
    EXPECT_NE(std::string(e.what()).find("linear_fwd: x [2, 7] against weight [4, 8]"), std::string::npos) << e.what();
  }
}

TEST(Linear, RefusesAGradientThatWasNotCast) {
  const Stream s = Stream::create(kMeta, "test");
  auto view = [](Shape shape, DType t) { return make_view(static_cast<void*>(nullptr), shape, t, kMeta); };
  EXPECT_THROW(
      linear_bwd_input(
          s, {.dy = view({2, 4}, DType::f32), .weight = view({4, 8}, DType::bf16), .dx = view({2, 8}, DType::bf16)}),
      ShapeError);
}

}  // namespace
}  // namespace mfl::test
