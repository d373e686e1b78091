// A pipeline folder ready to use: its samples depend on image, prompts, seed and noise number only; its memory is known before.
#include "models/mvdiffusion/view_pipeline.h"

#include <gtest/gtest.h>

#include <cstring>

#include "models/mvdiffusion/tiny_pipeline.h"
#include "runtime/rng.h"
#include "tests/models/diffusion_support.h"
#include "tests/support/temp_folder.h"
#include "tests/support/throws.h"

namespace mfl::mvdiffusion {
namespace {

using mfl::test::TempFolder;
constexpr std::int64_t kSide = 8;

Tensor picture(std::uint32_t stream) {
  Tensor t = Tensor::on_heap({kSide, kSide, 3}, DType::u8);
  const Rng rng(3, Draw::test, 0, stream);
  for (std::int64_t i = 0; i < t.numel(); ++i) t.data<std::uint8_t>()[i] = std::uint8_t(rng.bits_at(std::uint64_t(i)) >> 24);
  return t;
}

struct TinyFolder {
  TempFolder folder;
  TinyFolder() { write_tiny_pipeline(folder / "p", {.image = kSide, .seed = 5}); }
  PipelineFiles files() const { return PipelineFiles(folder / "p"); }
  ViewPipelineOptions options(Device device, std::int64_t batch, DType compute = DType::f32) const {
    return {.device = device, .compute = compute, .encoders = compute, .prompts = tiny_prompts(folder / "p"), .batch = batch,
            .memory_bytes = std::size_t{2} << 30};
  }
};
const std::vector<int> kOrder = {0, 1, 2, 3, 4, 5};
const SamplerConfig kFast{.steps = 2};

bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.view().data, b.view().data, a.bytes()) == 0;
}

TEST(ViewPipeline, ASampleIsTheSameInAnyBatch) {
  const TinyFolder tiny;
  const std::vector<Tensor> images = {picture(0), picture(1), picture(2)};
  std::vector<ViewPipeline::Request> requests;
  for (std::uint32_t i = 0; i < 3; ++i) requests.push_back({images[i], 40 + i, kOrder});
  ViewPipeline one(tiny.files(), tiny.options(kCpu, 1)), three(tiny.files(), tiny.options(kCpu, 3));
  const Tensor apart = one.sample(requests, kFast, 7), together = three.sample(requests, kFast, 7);
  EXPECT_EQ(apart.shape(), (Shape{3, 6, kSide, kSide, 3}));
  EXPECT_TRUE(same(apart, together));
  std::vector<ViewPipeline::Request> reversed(requests.rbegin(), requests.rend());
  EXPECT_TRUE(same(three.sample(reversed, kFast, 7).rows(2, 1), apart.rows(0, 1)));
  EXPECT_FALSE(same(one.sample(std::span(requests).first(1), kFast, 8), apart.rows(0, 1)));
  requests[0].noise = 99;
  EXPECT_FALSE(same(one.sample(std::span(requests).first(1), kFast, 7), apart.rows(0, 1)));
  for (std::int64_t i = 0; i < apart.numel(); ++i) ASSERT_TRUE(apart.data<float>()[i] >= 0 && apart.data<float>()[i] <= 1);
}

TEST(ViewPipeline, ItsMemoryIsKnownBefore) {
  const TinyFolder tiny;
  for (DType compute : {DType::f32, DType::bf16}) {
    const Tensor image = picture(0);
    const std::vector<ViewPipeline::Request> requests(2, {image, 1, kOrder});
    ViewPipeline real(tiny.files(), tiny.options(kCpu, 2, compute)), dry(tiny.files(), tiny.options(kMeta, 2, compute));
    real.sample(requests, kFast, 0), dry.sample(requests, kFast, 0);
    EXPECT_EQ(real.sampling_bytes(), dry.sampling_bytes());
    EXPECT_EQ(real.weight_bytes(), dry.weight_bytes());
  }
}

TEST(ViewPipeline, GuidanceOneAsksTheNetworkOnce) {
  const TinyFolder tiny;
  const Tensor image = picture(0);
  const std::vector<ViewPipeline::Request> requests = {{image, 1, kOrder}};
  ViewPipeline pipeline(tiny.files(), tiny.options(kCpu, 1));
  const Tensor plain = pipeline.sample(requests, {.steps = 2, .guidance = 1}, 0), nearly = pipeline.sample(requests, {.steps = 2, .guidance = 1 + 1e-6}, 0);
  double worst = 0;
  for (std::int64_t i = 0; i < plain.numel(); ++i) worst = std::max(worst, std::abs(double(plain.data<float>()[i] - nearly.data<float>()[i])));
  EXPECT_LT(worst, 1e-3);
}

TEST(ViewPipeline, RefusesComponentsThatDoNotFit) {
  const TinyFolder tiny;
  ViewPipelineOptions o = tiny.options(kCpu, 1);
  o.prompts = tiny.folder / "none.pt";
  EXPECT_THROW(ViewPipeline(tiny.files(), o), DataError);
  UnetSpec other = TinyPipeline{.image = kSide}.unet();
  other.class_width = 64;
  const Stream s = Stream::create(kCpu, "test");
  Arena arena(kCpu, std::size_t{1} << 30, "test");
  const Encoders encoders(tiny.files(), s, arena, DType::f32);
  EXPECT_THROW(encoders.require_fit(other), DataError);
  other = TinyPipeline{.image = kSide}.unet();
  other.in_channels = 4;
  EXPECT_THROW(encoders.require_fit(other), DataError);
}

// On the GPU: the same noise, the same network.
TEST(ViewPipeline, CudaSamplesWhatTheCpuSamples) {
  if (cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
  const TinyFolder tiny;
  const Tensor image = picture(0);
  const std::vector<ViewPipeline::Request> requests = {{image, 1, kOrder}};
  ViewPipeline host(tiny.files(), tiny.options(kCpu, 1)), device(tiny.files(), tiny.options({DeviceKind::cuda, 0}, 1));
  const Tensor a = host.sample(requests, kFast, 7), b = device.sample(requests, kFast, 7);
  double squared = 0, error = 0;
  for (std::int64_t i = 0; i < a.numel(); ++i)
    squared += std::pow(double(a.data<float>()[i]), 2), error += std::pow(double(a.data<float>()[i] - b.data<float>()[i]), 2);
  EXPECT_LT(std::sqrt(error / squared), 2e-2);
  EXPECT_TRUE(same(device.sample(requests, kFast, 7), b));
}

}  // namespace
}  // namespace mfl::mvdiffusion
