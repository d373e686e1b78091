// The moving average of parameters: the published schedule, the exchange for validation, the counter's way through a file.
#include "train/ema_weights.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "kernels/elementwise/cast.h"
#include "tests/support/op_case.h"

namespace mfl {
namespace {

void shows_the_average_and_gives_the_weights_back(Device device, DType compute) {
  const Stream s = Stream::create(device, "test");
  Arena weights(device, std::size_t{1} << 24, "weights"), scratch(device, std::size_t{1} << 24, "scratch");
  ParamStore store(weights, Precision::of(compute));
  Param& p = Scope{store}.param("weight", {3, 5});
  store.seal(s);
  auto set = [&](double v) {
    fill_(s, {.x = store.values(), .value = v});
    cast(s, {.x = store.values(), .y = store.computes()});
  };
  auto read = [&](const Tensor& t) {
    Tensor wide = Tensor::on_heap(t.shape(), store.precision().accum, device), host = Tensor::on_heap(t.shape(), store.precision().accum);
    cast(s, {.x = t, .y = wide});
    copy(s, wide, host);
    s.synchronize();
    return host.dtype() == DType::f64 ? host.data<double>()[0] : double(host.data<float>()[0]);
  };
  set(1);
  EmaWeights average(s, weights, store);
  set(2);
  average.update(s);   // the first update copies
  EXPECT_EQ(read(average.shadow()), 2);
  set(4);
  average.update(s);   // decay (1 + 1) / (10 + 1)
  const double expected = 2 + (1 - 2.0 / 11) * 2;
  EXPECT_NEAR(read(average.shadow()), expected, 1e-6);
  {
    EmaWeights::Shown shown(s, scratch, average);
    EXPECT_NEAR(read(p.value), expected, 1e-6);
    EXPECT_NEAR(read(p.compute), expected, compute == DType::bf16 ? 2e-2 : 1e-6);
    EXPECT_EQ(read(average.shadow()), 4);
  }
  EXPECT_EQ(read(p.value), 4);
  EXPECT_EQ(read(p.compute), 4);
  EXPECT_NEAR(read(average.shadow()), expected, 1e-6);
  EXPECT_EQ(scratch.live_bytes(), 0u);
  const auto fields = nlohmann::json::parse(average.config_fields());
  EXPECT_EQ(fields.at("optimization_step"), 2);
  EXPECT_EQ(fields.at("decay"), 0.9999);
  EXPECT_EQ(fields.size(), 7u);
}
TEST(EmaWeights, ShowsTheAverageAndGivesTheWeightsBack) {
  for (DType t : {DType::f64, DType::f32, DType::bf16}) shows_the_average_and_gives_the_weights_back(kCpu, t);
}
TEST(EmaWeights, CudaShowsTheAverageAndGivesTheWeightsBack) {
  MFL_SKIP_WITHOUT_CUDA();
  for (DType t : {DType::f32, DType::bf16}) shows_the_average_and_gives_the_weights_back({DeviceKind::cuda, 0}, t);
}

}  // namespace
}  // namespace mfl
