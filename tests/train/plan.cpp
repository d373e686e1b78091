// The memory plan: every published configuration runs dry, and its figures are what they must be.
#include "train/plan.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

namespace mfl {
namespace {

namespace fs = std::filesystem;

TEST(Plan, EveryPublishedConfigurationRunsDry) {
  const char* given = std::getenv("MFL_SHARED_DATA");
  const fs::path folder = (given ? fs::path(given) : fs::path(MFL_SOURCE_DIR) / ".." / "shared" / "data") / "facelift_configs";
  if (!fs::exists(folder)) GTEST_SKIP() << "no configurations at " << folder;
  int planned = 0;
  for (const auto& file : fs::directory_iterator(folder)) {
    const std::string name = file.path().filename().string();
    if (name.find("mvdiffusion") != std::string::npos) continue;   // the other stage
    SCOPED_TRACE(name);
    const GslrmConfig config = load_gslrm_config(file.path().string()).config;
    const MemoryPlan p = plan_gslrm(config, std::size_t{48} << 30);
    EXPECT_EQ(p.parameters, 303'565'824);
    EXPECT_GT(p.step_bytes, std::size_t{1} << 30);
    ++planned;
  }
  EXPECT_EQ(planned, 36);
}

TEST(Plan, RecomputationIsChosenWhenItIsNeeded) {
  const GslrmConfig config = load_gslrm_config(std::string(MFL_SOURCE_DIR) + "/configs/gslrm.yaml").config;
  const MemoryPlan large = plan_gslrm(config, std::size_t{80} << 30), small = plan_gslrm(config, std::size_t{24} << 30);
  EXPECT_EQ(large.recompute_segment, 0);
  EXPECT_EQ(small.recompute_segment, 1);
  EXPECT_LT(small.step_bytes, large.step_bytes);
  EXPECT_NE(describe(config, large, std::size_t{80} << 30).find("fits in 80.00 GiB"), std::string::npos);
  EXPECT_NE(describe(config, small, std::size_t{4} << 30).find("DOES NOT FIT"), std::string::npos);
}

TEST(Plan, CountsTheLpipsNetworkThatOnlyValidationUses) {
  const std::string file = std::string(MFL_SOURCE_DIR) + "/configs/gslrm.yaml";
  std::vector<ConfigOverride> set = {{"training.losses.lpips_loss_weight", "0"}, {"validation.enabled", "true"}};
  const GslrmConfig without = load_gslrm_config(file, set).config;
  set.push_back({"mfl.weights.vgg16", "/elsewhere/vgg16.pth"}), set.push_back({"mfl.weights.lpips", "formula"});
  const GslrmConfig with = load_gslrm_config(file, set).config;
  const MemoryPlan a = plan_gslrm(without, 0), b = plan_gslrm(with, 0);
  EXPECT_EQ(a.metric_parameters, 0);
  EXPECT_NE(describe(without, a, 0).find("vgg16-397923af.pth"), std::string::npos);
  EXPECT_GT(b.metric_parameters, 14'700'000);
  EXPECT_EQ(b.missing_metric, "");
  EXPECT_GT(b.state_bytes, a.state_bytes + 4 * 14'700'000);   // f32 values, and the packed copies
  EXPECT_GE(b.validation_bytes, a.validation_bytes);
}

TEST(Plan, AmountsOfMemoryAreRead) {
  EXPECT_EQ(parse_bytes("12G"), std::size_t{12} << 30);
  EXPECT_EQ(parse_bytes("1.5 GiB"), std::size_t{3} << 29);
  EXPECT_EQ(parse_bytes("1000"), 1000u);
  EXPECT_THROW(parse_bytes("plenty"), ConfigError);
}

}  // namespace
}  // namespace mfl
