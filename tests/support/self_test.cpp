// The comparisons themselves: what must fail does fail.
#include "tests/support/compare.h"

#include "runtime/rng.h"

namespace mfl::test {
namespace {

std::vector<double> values(std::size_t n) {
  Rng rng(1, Draw::test);
  std::vector<double> v(n);
  for (double& x : v) x = rng.normal();
  return v;
}
std::vector<double> as_bf16(std::vector<double> v) {
  for (double& x : v) x = bf16(x);
  return v;
}

TEST(Compare, AcceptsWhatTheDtypeCosts) {
  const auto ref = values(1000);
  EXPECT_TRUE(within_parity("x", as_bf16(ref), as_bf16(ref), ref, {.dtype = DType::bf16}));
}
TEST(Compare, CatchesASmallBiasByDirection) {
  const auto ref = values(1000);
  auto biased = ref;
  for (double& x : biased) x *= 1.01;
  EXPECT_FALSE(same_direction("x", biased, ref, 2e-3));
  EXPECT_FALSE(within_parity("x", biased, ref, ref, {.dtype = DType::f32}));
}
TEST(Compare, CatchesAZeroedRow) {
  const auto ref = values(64 * 33);
  auto holed = as_bf16(ref);
  for (int i = 0; i < 33; ++i) holed[std::size_t(33 * 17 + i)] = 0;
  EXPECT_FALSE(within_parity("x", holed, as_bf16(ref), ref, {.dtype = DType::bf16}));
}
TEST(Compare, CatchesNotANumber) {
  const auto ref = values(10);
  auto bad = ref;
  bad[3] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(within_parity("x", bad, ref, ref, {.dtype = DType::f32}));
  EXPECT_FALSE(same_direction("x", bad, ref, 1e-3));
}
TEST(Compare, FlipsAreCounted) {
  const auto ref = values(1000);
  auto flipped = ref;
  flipped[1] += 1, flipped[2] += 1;
  EXPECT_TRUE(within_parity("x", flipped, ref, ref, {.dtype = DType::f32, .flips = 0.002}));
  EXPECT_FALSE(within_parity("x", flipped, ref, ref, {.dtype = DType::f32, .flips = 0.001}));
}

}  // namespace
}  // namespace mfl::test
