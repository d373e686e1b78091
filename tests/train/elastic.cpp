// Runs that go on with another number of ranks: the same samples in the same order, the same learning rate, losses equal to rounding.
#include <gtest/gtest.h>

#include "tests/support/run_log_lines.h"
#include "tests/support/temp_folder.h"
#include "tests/support/thread_run.h"

namespace mfl {
namespace {

using Model = test::TinyProgram::Model;

class Elastic : public ::testing::TestWithParam<Model> {
 protected:
  test::TempFolder root;
  test::TinyProgram program{GetParam(), "", root / "files", 6};   // 8 samples
  bool views = GetParam() == Model::mvdiffusion;

  // Up to update `last`, in passes or steps of `accumulation` micro-batches.
  int run(const std::string& name, int ranks, int batch, int accumulation, int last, bool divided = false) {
    std::vector<ConfigOverride> more;
    auto set = [&](const char* views_key, const char* gslrm_key, const std::string& value) { more.push_back({views ? views_key : gslrm_key, value}); };
    set("train_batch_size", "training.dataloader.batch_size_per_gpu", std::to_string(batch));
    set("gradient_accumulation_steps", "training.runtime.grad_accum_steps", std::to_string(accumulation));
    set("max_train_steps", "training.schedule.max_fwdbwd_passes", std::to_string(last));
    set("lr_scheduler", "mfl.lr_updates", views ? "constant_with_warmup" : "9");
    set("lr_warmup_steps", "training.schedule.warmup", "5");
    set("mfl.shard_optimizer", "mfl.shard_optimizer", divided ? "true" : "false");
    return test::train_on_ranks(program, root / name, more, ranks);
  }
  std::vector<nlohmann::json> steps(const std::string& name) const { return test::log_lines(program.log(root / name), "step"); }
  std::uint64_t position(const std::string& name) const { return std::stoull(program.state(program.checkpoints(root / name).back().path).at("data_position")); }
};
INSTANTIATE_TEST_SUITE_P(, Elastic, ::testing::Values(Model::gslrm, Model::mvdiffusion),
                         [](const auto& p) { return p.param == Model::gslrm ? "GsLrm" : "MvDiffusion"; });

TEST_P(Elastic, FourTwoOneAndTwoRanksTakeTheSamplesOfOneRun) {
  ASSERT_EQ(run("straight", 1, 4, 1, 6), kExitOk);
  ASSERT_EQ(run("elastic", 4, 1, 1, 2), kExitOk);
  ASSERT_EQ(run("elastic", 2, 2, 1, 3, /*divided=*/true), kExitOk);
  ASSERT_EQ(run("elastic", 1, 4, 1, 4), kExitOk);
  ASSERT_EQ(run("elastic", 2, 2, 1, 6), kExitOk);
  const auto a = steps("straight"), b = steps("elastic");
  ASSERT_EQ(a.size(), 6u);
  ASSERT_EQ(b.size(), 6u);
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_NEAR(a[i]["loss"].get<double>(), b[i]["loss"].get<double>(), 1e-3 * a[i]["loss"].get<double>()) << "update " << i + 1;
    EXPECT_EQ(a[i]["lr"], b[i]["lr"]) << "update " << i + 1;
  }
  EXPECT_EQ(position("straight"), 24u);
  EXPECT_EQ(position("elastic"), 24u);
  const auto start = test::log_lines(program.log(root / "elastic"), "start");
  ASSERT_EQ(start.size(), 4u);
  EXPECT_EQ(start[1]["ranks"], 2);
  EXPECT_EQ(start[1]["samples_an_update"], 4);
  EXPECT_EQ(start[1]["samples"], 8);
}

// Half the ranks with two micro-batches each: the same update. GS-LRM counts passes, so its window of two is two of them.
TEST_P(Elastic, AccumulationTakesTheOtherRanksPlace) {
  ASSERT_EQ(run("straight", 4, 1, 1, 3), kExitOk);
  ASSERT_EQ(run("elastic", 4, 1, 1, 1), kExitOk);
  ASSERT_EQ(run("elastic", 2, 1, 2, views ? 3 : 5), kExitOk);
  const auto a = steps("straight"), b = steps("elastic");
  ASSERT_EQ(a.size(), 3u);
  ASSERT_EQ(b.size(), 3u);
  for (std::size_t i = 0; i < a.size(); ++i)
    EXPECT_NEAR(a[i]["loss"].get<double>(), b[i]["loss"].get<double>(), 1e-3 * a[i]["loss"].get<double>()) << "update " << i + 1;
  EXPECT_EQ(position("straight"), 12u);
  EXPECT_EQ(position("elastic"), 12u);
}

// Another number of samples an update: no sample twice, none left out; said, with what would keep it.
TEST_P(Elastic, AnotherGlobalBatchIsSaidAndGoesOnBehindTheLastSample) {
  ASSERT_EQ(run("run", 2, 2, 1, 1), kExitOk);
  testing::internal::CaptureStderr();
  ASSERT_EQ(run("run", 3, 1, 1, 2), kExitOk);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("takes 3 samples an update (1 x 3 ranks x 1), and the checkpoint's run took 4"), std::string::npos) << said;
  EXPECT_NE(said.find("3 ranks, of which 4 is no multiple"), std::string::npos) << said;
  EXPECT_EQ(position("run"), 7u);
  testing::internal::CaptureStderr();
  ASSERT_EQ(run("run", 1, 4, 1, 3), kExitOk);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("To go on as before:"), std::string::npos);
  EXPECT_EQ(position("run"), 12u);   // one entry of the epoch was left, the next one begins at 8
}

}  // namespace
}  // namespace mfl
