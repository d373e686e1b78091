#include "kernels/elementwise/cast.h"

#include <cmath>

#include "tests/support/op_case.h"

namespace mfl::test {
namespace {

std::vector<OpCase> cast_cases() {
  std::vector<OpCase> cases;
  for (std::int64_t n : {1, 3, 31, 129, 4099}) {
    OpCase c;
    c.name = text("cast_N", n);
    c.inputs = {{"wide", {n}, Role::accum, false}, {"narrow", {n}, Role::work, false}};
    c.outputs = {{"to_narrow", {n}, Role::work, false}, {"to_wide", {n}, Role::accum, false}};
    c.forward = [](Run& r) {
      cast(r.stream, {.x = r["wide"], .y = r["to_narrow"]});
      cast(r.stream, {.x = r["narrow"], .y = r["to_wide"]});
    };
    cases.push_back(c);
    c.name = text("add_scale_fill_N", n);
    c.outputs.push_back({"filled", {n}, Role::work, false});
    c.forward = [](Run& r) {
      copy(r.stream, r["narrow"], r["to_narrow"]);
      add_(r.stream, {.y = r["to_narrow"], .x = r["wide"], .factor = 0.5});
      copy(r.stream, r["wide"], r["to_wide"]);
      add_(r.stream, {.y = r["to_wide"], .x = r["narrow"]});
      scale_(r.stream, {.x = r["to_wide"], .factor = -1.5});
      fill_(r.stream, {.x = r["filled"], .value = 0.75});
    };
    cases.push_back(c);
  }
  OpCase weights;
  weights.name = "weights_N303565824";
  weights.inputs = {{"wide", {303'565'824}, Role::accum, false}};
  weights.outputs = {{"to_narrow", {303'565'824}, Role::work, false}};
  weights.forward = [](Run& r) { cast(r.stream, {.x = r["wide"], .y = r["to_narrow"]}); };
  weights.bytes_fwd = 6 * 303'565'824.0;
  cases.push_back(bench_only(weights));
  return cases;
}

}  // namespace
MFL_OP_TESTS(Elementwise, cast_cases)

namespace {

TEST(Cast, RoundsToNearestEven) {
  const Stream s = Stream::create(kCpu, "test");
  const float x[5] = {1.0f, 1.00390625f /* a tie: to even */, 1.01171875f /* a tie: up */, 1e38f, -0.0f};
  bf16 y[5];
  float back[5];
  cast(s, {.x = make_view(static_cast<const void*>(x), {5}, DType::f32), .y = make_view(y, {5}, DType::bf16)});
  cast(s, {.x = make_view(static_cast<const void*>(y), {5}, DType::bf16), .y = make_view(back, {5}, DType::f32)});
  EXPECT_EQ(back[0], 1.0f);
  EXPECT_EQ(back[1], 1.0f);
  EXPECT_EQ(back[2], 1.015625f);
  EXPECT_NEAR(back[3], 1e38f, 4e35f);
  EXPECT_TRUE(std::signbit(back[4]));
}

}  // namespace
}  // namespace mfl::test
