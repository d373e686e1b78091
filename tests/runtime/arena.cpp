#include "runtime/arena.h"

#include <gtest/gtest.h>

#include "runtime/module.h"

namespace mfl {
namespace {

// A step with nested lifetimes; returns the trace.
std::uint64_t step(Arena& a) {
  a.begin_step();
  Tensor x = a.empty({1000}, DType::f32, {"x"});
  {
    Tensor y = a.empty({33}, DType::bf16, {"y"}), z = a.empty({7777}, DType::f32, {"z"});
    x.reset();
    x = a.empty({20}, DType::f64, {"x again"});
  }
  Tensor w = a.empty({500}, DType::f32, {"w"});
  return a.trace();
}

TEST(Arena, SameCallsGiveSameOffsetsAndPeakOnEveryKind) {
  Arena real(kCpu, 1 << 20, "real"), dry(kMeta, 1 << 20, "dry");
  const auto first = step(real);
  EXPECT_EQ(first, step(real));
  EXPECT_EQ(first, step(dry));
  EXPECT_EQ(real.peak_bytes(), dry.peak_bytes());
  EXPECT_EQ(real.live_bytes(), 0u);
}
TEST(Arena, ReusesWhatWasReleased) {
  Arena a(kCpu, 1 << 20, "a");
  Tensor x = a.empty({1000}, DType::f32), y = a.empty({1000}, DType::f32);
  const void* at = ConstView(x).data;
  x.reset();
  EXPECT_EQ(ConstView(a.empty({900}, DType::f32)).data, at);
}
TEST(Arena, OutOfMemoryNamesTheLargestPurposes) {
  Arena a(kCpu, 1 << 20, "small");
  Tensor x = a.empty({100000}, DType::f32, {"attention logits"});
  try {
    a.empty({1000000}, DType::f32, {"dq"});
    FAIL();
  } catch (const OutOfMemory& e) {
    EXPECT_NE(std::string(e.what()).find("attention logits"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("(dq)"), std::string::npos) << e.what();
  }
  EXPECT_NO_THROW(a.empty({1000}, DType::f32));
}
TEST(Tensor, KeptBlocksCannotBeWritten) {
  Arena a(kCpu, 1 << 20, "a");
  Tensor x = a.empty({4}, DType::f32, {"x"});
  {
    Tensor saved = x.kept();
    EXPECT_THROW((void)View(x), ShapeError);
    EXPECT_NO_THROW((void)ConstView(x));
  }
  EXPECT_NO_THROW((void)View(x));
}
TEST(ParamStore, LaysOutInRegistrationOrderWithAlignedStarts) {
  Arena a(kCpu, 1 << 20, "a");
  const Stream s = Stream::create(kCpu, "test");
  ParamStore store(a, Precision::of(DType::bf16));
  Scope root{store};
  Param& w = (root / "layer").param("weight", {3, 5});
  Param& b = (root / "layer").param("bias", {5});
  store.seal(s);
  EXPECT_EQ(w.name, "layer.weight");
  EXPECT_EQ(b.first, 64);
  EXPECT_EQ(store.numel(), 20);
  EXPECT_EQ(store.flat_numel(), 128);
  EXPECT_EQ(w.compute.dtype(), DType::bf16);
  EXPECT_TRUE(w.decay());
  EXPECT_FALSE(b.decay());
  const ParamRange r = store.range(1, 2);
  EXPECT_EQ(r.first, 64);
  EXPECT_EQ(r.count, 64);
  EXPECT_THROW(store.add("late", {1}), ShapeError);
}
TEST(ParamStore, AFrozenNetworkKeepsItsProductsInTheComputeTypeOnly) {
  const Stream s = Stream::create(kCpu, "test");
  auto fill = [](ParamStore& store) {
    Scope root{store};
    root.kernel("conv.weight", {2, 3, 1, 1}), root.param("table", {3, 70}), root.matrix("weight", {3, 5}), root.param("bias", {5});
  };
  Arena a(kCpu, 1 << 20, "a");
  ParamStore frozen(a, Precision::of(DType::bf16), false);
  fill(frozen), frozen.seal(s);
  EXPECT_FALSE(frozen.has_masters());
  EXPECT_THROW((void)frozen.values(), ShapeError);
  EXPECT_FALSE(frozen.find("conv.weight")->value || frozen.find("weight")->value);
  Tensor table = frozen.find("table")->value, bias = frozen.find("bias")->value;
  EXPECT_EQ(table.dtype(), DType::f32);
  EXPECT_EQ(bias.data<float>() - table.data<float>(), 256);   // padded
  EXPECT_EQ(frozen.find("table")->compute.dtype(), DType::bf16);
  EXPECT_EQ(a.live_bytes(), std::size_t{1024 + 4 * (256 + 64)});   // 896 bytes of bf16, on the arena's grid
  Arena b(kCpu, 1 << 20, "b");
  ParamStore same(b, Precision::of(DType::f32), false), trained(b, Precision::of(DType::bf16));
  fill(same), same.seal(s), fill(trained), trained.seal(s);
  for (ParamStore* store : {&same, &trained}) {
    EXPECT_TRUE(store->has_masters());
    EXPECT_EQ(store->values().numel(), 448);
    EXPECT_TRUE(store->find("weight")->value);
  }
}

}  // namespace
}  // namespace mfl
