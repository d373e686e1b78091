#include "kernels/elementwise/gelu.h"

#include <cmath>

#include "tests/support/op_case.h"

namespace mfl::test {
namespace {

OpCase gelu_case(std::int64_t n) {
  OpCase c;
  c.name = text('N', n);
  c.inputs = {{"x", {n}, Role::work, true, [](Rng& r) { return 2 * r.normal(); }}};
  c.outputs = {{"y", {n}}};
  c.forward = [](Run& r) { gelu_fwd(r.stream, {.x = r["x"], .y = r["y"]}); };
  c.backward = [](Run& r) { gelu_bwd(r.stream, {.x = r["x"], .dy = r["dy"], .dx = r["dx"], .dx_mode = r.mode}); };
  c.bytes_fwd = 4 * double(n), c.bytes_bwd = 6 * double(n);
  return c;
}

std::vector<OpCase> gelu_cases() {
  std::vector<OpCase> cases;
  for (std::int64_t n : {1, 7, 8, 33, 1023, 4099}) cases.push_back(gelu_case(n));
  cases.push_back(gelu_case(std::int64_t{24578} * 4096));
  cases.back().bench_only = true;
  return cases;
}

}  // namespace
MFL_OP_TESTS(Gelu, gelu_cases)

namespace {

// x * Phi(x), with the normal distribution's tabulated Phi. The tanh form is off by up to 5e-4.
TEST(Gelu, IsTheErfForm) {
  const Stream s = Stream::create(kCpu, "test");
  const double x[6] = {-3, -0.5, 0, 0.5, 1, 3};
  const double expected[6] = {-0.004049694095, -0.154268769, 0, 0.345731231, 0.841344746, 2.995950306};
  double y[6];
  gelu_fwd(s, {.x = make_view(static_cast<const void*>(x), {6}, DType::f64), .y = make_view(y, {6}, DType::f64)});
  for (int i = 0; i < 6; ++i) EXPECT_NEAR(y[i], expected[i], 1e-9) << x[i];
  EXPECT_NEAR(y[5] + y[0], x[5] + 2 * y[0], 1e-12);  // GELU(x) - GELU(-x) = x
}

}  // namespace
}  // namespace mfl::test
