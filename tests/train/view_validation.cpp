// Validation of the diffusion stage: fixed noise, the same figures for any number of ranks, pictures, and the sets it reads.
#include "train/mvdiffusion/validation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <thread>

#include "data/scenes.h"
#include "models/mvdiffusion/prompts.h"
#include "models/mvdiffusion/tiny_pipeline.h"
#include "runtime/rng.h"
#include "tests/support/temp_folder.h"
#include "train/mvdiffusion/view_set.h"

namespace mfl {
namespace {

namespace fs = std::filesystem;
using namespace mvdiffusion;
using test::TempFolder;
constexpr std::int64_t kSide = 16;

Tensor noise_images(std::int64_t views, std::int64_t channels, std::uint32_t stream) {
  Tensor t = Tensor::on_heap({views, kSide, kSide, channels}, DType::f32);
  for (std::int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = Rng(2, Draw::test, 0, stream).uniform_at(std::uint64_t(i));
  return t;
}

ViewSet noise_set(std::int64_t size) {
  return {size, [](std::int64_t i) {
            ViewSample s;
            s.name = text("sample_", i);
            s.noise = std::uint32_t(i);
            s.truth = noise_images(6, 4, std::uint32_t(i));
            s.reference = Tensor::on_heap({kSide, kSide, 3}, DType::u8);
            for (std::int64_t p = 0; p < s.reference.numel(); ++p) s.reference.data<std::uint8_t>()[p] = std::uint8_t(p * (i + 3));
            s.prompts = {0, 1, 2, 3, 4, 5};
            return s;
          }};
}

// A network of one rank.
struct Rank {
  Stream s = Stream::create(kCpu, "test");
  Arena weights{kCpu, std::size_t{1} << 30, "weights"}, step{kCpu, std::size_t{1} << 30, "step"};
  Encoders encoders;
  ParamStore store{weights, Precision::of(DType::f32), false};
  Unet unet;
  Tensor prompts;
  explicit Rank(const fs::path& folder)
      : encoders(PipelineFiles(folder), s, weights, DType::f32), unet(Scope{store}, UnetSpec::read(folder / "unet" / "config.json")) {
    store.seal(s);
    encoders.load(s);
    load_unet(s, store, folder / "unet");
    prompts = read_prompt_embeddings(tiny_prompts(folder), 6, unet.spec().text_width);
  }
  ValidationResult run(Communicator& comm, ViewSet set, const fs::path& out) {
    ViewValidation v(encoders, unet, prompts, std::move(set), comm, {.sampler = {.steps = 1}, .seed = 3, .batch = 2, .folder = out});
    Ctx cx{.stream = s, .arena = step, .precision = store.precision()};
    return v.run(cx, 7);
  }
};

TEST(ViewValidation, IsTheSameForAnyNumberOfRanks) {
  const TempFolder folder;
  write_tiny_pipeline(folder / "p", {.image = kSide, .widths = {32, 32}});
  const auto single = make_single(kCpu);
  Rank one(folder / "p");
  const ValidationResult alone = one.run(*single, noise_set(3), folder / "alone");
  EXPECT_EQ(alone.samples, 3);
  ASSERT_EQ(alone.metrics.size(), 10u);
  EXPECT_EQ(alone.metrics[0].first, "psnr-guidance_scale-1.0");
  EXPECT_EQ(alone.metrics[9].first, "slot_order-guidance_scale-3.0");
  for (const char* file : {"input.png", "gt.png", "pred_gs_1.0.png", "pred_gs_3.0.png", "grid.png"}) {
    EXPECT_TRUE(fs::exists(folder / "alone" / "global_step_0007" / "sample_0" / file)) << file;
    EXPECT_TRUE(fs::exists(folder / "alone" / "global_step_0007" / "sample_1" / file)) << file;
  }
  EXPECT_FALSE(fs::exists(folder / "alone" / "global_step_0007" / "sample_2"));
  EXPECT_TRUE(fs::exists(folder / "alone" / "global_step_0007" / "validation-metrics.txt"));
  EXPECT_EQ(alone.images.size(), 2u);
  auto ranks = make_thread_ranks(2);
  std::vector<ValidationResult> results(2);
  std::vector<std::thread> threads;
  for (std::size_t r = 0; r < 2; ++r)
    threads.emplace_back([&, r] {
      Rank mine(folder / "p");
      results[r] = mine.run(*ranks[r], noise_set(3), folder / "two");
    });
  for (auto& t : threads) t.join();
  for (const ValidationResult& two : results)
    for (std::size_t i = 0; i < alone.metrics.size(); ++i) {
      EXPECT_EQ(two.metrics[i].first, alone.metrics[i].first);
      EXPECT_NEAR(two.metrics[i].second, alone.metrics[i].second, 1e-9);
    }
  EXPECT_TRUE(fs::exists(folder / "two" / "global_step_0007" / "sample_1" / "grid.png"));
}

TEST(ViewValidation, AnEmptySetIsRefused) {
  const TempFolder folder;
  write_tiny_pipeline(folder / "p", {.image = kSide, .widths = {32}});
  const auto single = make_single(kCpu);
  Rank one(folder / "p");
  EXPECT_THROW(one.run(*single, noise_set(0), {}), DataError);
}

TEST(ViewMetrics, SlotOrderCountsViewsThatAreNearestToTheirOwnTruth) {
  const Tensor truth = noise_images(6, 4, 0);
  Tensor predicted = Tensor::on_heap({6, kSide, kSide, 3}, DType::f32);
  auto take = [&](std::int64_t to, std::int64_t from) {
    for (std::int64_t p = 0; p < kSide * kSide; ++p)
      for (std::int64_t c = 0; c < 3; ++c)
        predicted.data<float>()[(to * kSide * kSide + p) * 3 + c] = 0.9f * truth.data<float>()[(from * kSide * kSide + p) * 4 + c];
  };
  for (std::int64_t v = 0; v < 6; ++v) take(v, v);
  EXPECT_EQ(slot_order(predicted, truth), 1);
  take(1, 2), take(2, 1);
  EXPECT_NEAR(slot_order(predicted, truth), 4.0 / 6, 1e-12);
}

TEST(ViewSet, ReadsAPackedFileInSlotOrder) {
  const TempFolder folder;
  data::PackInfo info;
  info.width = info.height = 32, info.samples = 2, info.max_views = 7;
  data::ViewWriter writer((folder / "scenes.h5").string(), info, false);
  for (std::int64_t i = 0; i < 2; ++i) writer.add(data::make_scene({.views = 7, .image_size = 32}, i));
  writer.finish();
  const auto reader = std::make_shared<const data::ViewReader>((folder / "scenes.h5").string());
  const ViewSet fixed = packed_view_set(reader, {.image_size = kSide, .reference = 2});
  EXPECT_EQ(fixed.size, 2);
  const ViewSample a = fixed.sample(0);
  EXPECT_EQ(a.truth.shape(), (Shape{6, kSide, kSide, 4}));
  EXPECT_EQ(a.prompts, (std::vector<int>{0, 1, 2, 3, 4, 5}));
  for (std::int64_t p = 0; p < kSide * kSide; ++p)
    for (std::int64_t c = 0; c < 3; ++c)
      ASSERT_EQ(std::lround(255 * a.truth.data<float>()[(2 * kSide * kSide + p) * 4 + c]), a.reference.data<std::uint8_t>()[p * 3 + c]);
  const ViewSet drawn = packed_view_set(reader, {.image_size = kSide, .rule = ReferenceRule::random, .reference = {}, .limit = 1});
  EXPECT_EQ(drawn.size, 1);
  const ViewSample b = drawn.sample(0), again = drawn.sample(0);
  EXPECT_EQ(b.prompts, again.prompts);
  for (std::int64_t i = 0; i < kSide * kSide; ++i)   // the reference is in slot 0
    ASSERT_EQ(std::lround(255 * b.truth.data<float>()[i * 4]), b.reference.data<std::uint8_t>()[i * 3]);
  EXPECT_THROW(packed_view_set(reader, {.image_size = kSide, .views = 8}).sample(0), DataError);
  EXPECT_THROW(packed_view_set(reader, {.image_size = kSide, .reference = 6}).sample(0), ConfigError);
}

}  // namespace
}  // namespace mfl
