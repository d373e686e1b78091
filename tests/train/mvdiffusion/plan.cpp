// The memory plan of MVDiffusion: every published configuration runs dry.
#include "train/mvdiffusion/plan.h"

#include <gtest/gtest.h>

#include "tests/support/shared_files.h"

namespace mfl::mvdiffusion {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kGiB = std::size_t{1} << 30;

TrainConfig ours(const char* name, const std::vector<ConfigOverride>& set = {}) {
  return load_train_config((fs::path(MFL_SOURCE_DIR) / "configs" / name).string(), set).config;
}

TEST(MvDiffusionPlan, EveryPublishedConfigurationRunsDry) {
  const fs::path folder = mfl::test::shared_data_folder() / "facelift_configs";
  if (!fs::exists(folder)) GTEST_SKIP() << "no configurations at " << folder;
  int planned = 0;
  for (const auto& file : fs::directory_iterator(folder)) {
    if (file.path().filename().string().find("mvdiffusion") == std::string::npos) continue;
    SCOPED_TRACE(file.path().filename().string());
    const MemoryPlan p = plan_training(load_train_config(file.path().string()).config);
    EXPECT_EQ(p.parameters, 870'184'644);
    EXPECT_EQ(p.network_parameters, 83'653'863 + 632'076'800);
    EXPECT_GT(p.step_peak, kGiB / 8);
    ++planned;
  }
  EXPECT_EQ(planned, 16);
}

TEST(MvDiffusionPlan, KnowsWhatSavesMemory) {
  const MemoryPlan recomputed = plan_training(ours("mouse_mvdiffusion.yaml")), kept = plan_training(ours("mouse_mvdiffusion.yaml", {{"mfl.recompute", "none"}})),
                   one = plan_training(ours("mouse_mvdiffusion.yaml", {{"train_batch_size", "1"}})),
                   without = plan_training(ours("mouse_mvdiffusion.yaml", {{"use_ema", "false"}}));
  EXPECT_LT(2 * recomputed.step_bytes, kept.step_bytes);
  EXPECT_LT(one.step_bytes, recomputed.step_bytes);
  EXPECT_NEAR(double(recomputed.state_peak - without.state_peak), 4 * 870e6, 0.01 * 4 * 870e6);
  const TrainConfig c = ours("mouse_mvdiffusion.yaml");
  EXPECT_NE(describe(c, recomputed, 48 * kGiB).find("fits in 48.00 GiB"), std::string::npos);
  const std::string sixteen = describe(c, recomputed, 16 * kGiB), six = describe(c, recomputed, 6 * kGiB);
  EXPECT_NE(sixteen.find("DOES NOT FIT"), std::string::npos);
  EXPECT_NE(sixteen.find("fits with --set train_batch_size=1 --set gradient_accumulation_steps=16 --set mfl.offload=moments"), std::string::npos) << sixteen;
  EXPECT_EQ(six.find("fits with"), std::string::npos);
  const MemoryPlan host = plan_training(ours("mouse_mvdiffusion.yaml", {{"mfl.offload", "moments"}}));
  EXPECT_NEAR(double(recomputed.state_peak - host.state_peak), 12 * 870e6, 0.01 * 12 * 870e6);   // two moments, average
}

TEST(MvDiffusionPlan, DividesTheOptimizersStateAmongRanks) {
  const TrainConfig c = ours("mouse_mvdiffusion.yaml", {{"mfl.shard_optimizer", "true"}});
  const MemoryPlan one = plan_training(c), four = plan_training(c, 4);
  EXPECT_FALSE(one.divided);
  EXPECT_TRUE(four.divided);
  EXPECT_NEAR(double(one.state_peak - four.state_peak), 0.75 * 12 * 870e6, 0.01 * 9 * 870e6);   // two moments, average
  const std::string text = describe(c, four, 0);
  EXPECT_NE(text.find("optimizer state divided among 4"), std::string::npos) << text;
  EXPECT_NE(text.find("ranks 1 to 3, each"), std::string::npos) << text;
  const TrainConfig whole = ours("mouse_mvdiffusion.yaml");
  EXPECT_NE(describe(whole, plan_training(whole, 4), 16 * kGiB).find("--set mfl.shard_optimizer=true"), std::string::npos);
}

TEST(MvDiffusionPlan, SaysHowCardsOf12And24And48GiBTrainIt) {
  const TrainConfig c = ours("mouse_mvdiffusion.yaml");
  const MemoryPlan as_it_is = plan_training(c);
  EXPECT_NE(describe(c, as_it_is, 48 * kGiB).find("fits in 48.00 GiB"), std::string::npos);
  EXPECT_NE(describe(c, as_it_is, 24 * kGiB).find("fits in 24.00 GiB"), std::string::npos);
  const std::string twelve = describe(c, as_it_is, 12 * kGiB);
  EXPECT_NE(twelve.find(" fits with --set train_batch_size=1 --set gradient_accumulation_steps=16 --set mfl.offload=moments\n"), std::string::npos)
      << twelve;
  // Frozen encoders take two bytes a parameter, and what norms and embeddings read.
  const MemoryPlan f32 = plan_training(ours("mouse_mvdiffusion.yaml", {{"mfl.compute", "f32"}}));
  const double encoders = 716e6, unet = 870e6;
  EXPECT_NEAR(double(f32.state_peak) - double(as_it_is.state_peak), 2 * encoders - 2 * unet, 0.02 * 2 * encoders);
}

}  // namespace
}  // namespace mfl::mvdiffusion
