#include "train/schedule.h"

#include <gtest/gtest.h>

namespace mfl {
namespace {

GslrmConfig config(std::int64_t batch, std::int64_t accum, std::int64_t epochs, std::int64_t passes) {
  GslrmConfig c;
  c.training.dataloader.batch_size_per_gpu = static_cast<int>(batch);
  c.training.runtime.grad_accum_steps = static_cast<int>(accum);
  c.training.schedule.num_epochs = epochs;
  c.training.schedule.max_fwdbwd_passes = passes;
  return c;
}

TEST(Schedule, TheJobOverviewHasThePublishedHorizonAndTheExactEnd) {
  const JobOverview j = job_overview(config(2, 1, 100000, 20000), 1800, 1);
  EXPECT_EQ(j.passes_per_epoch, 900);
  EXPECT_EQ(j.epochs, 23);
  EXPECT_EQ(j.lr_updates, 20700);
  EXPECT_EQ(j.total_passes, 20000);
  EXPECT_EQ(j.total_updates, 20000);
}

TEST(Schedule, EpochsAndEarlyStopsEndARunExactly) {
  EXPECT_EQ(job_overview(config(2, 1, 10, 1000000), 100, 1).total_passes, 500);
  EXPECT_EQ(job_overview(config(2, 1, 10, 10'000'000'000), 100, 2).total_passes, 250);
  GslrmConfig c = config(2, 1, 10, 1000);
  c.training.schedule.early_stop_after_epochs = 1;
  EXPECT_EQ(job_overview(c, 100, 1).total_passes, 50);
  c.training.schedule.early_stop_after = 7;
  EXPECT_EQ(job_overview(c, 100, 1).total_passes, 7);
}

TEST(Schedule, AnEpochShorterThanAnAccumulationStillHasAHorizon) {
  const JobOverview j = job_overview(config(2, 8, 100000, 64), 4, 1);
  EXPECT_EQ(j.passes_per_epoch, 2);
  EXPECT_EQ(j.updates_per_epoch, 0);
  EXPECT_EQ(j.total_updates, 8);
  EXPECT_EQ(j.lr_updates, 8);
}

TEST(Schedule, FewerSamplesThanABatchStillMakeAPass) {
  EXPECT_EQ(job_overview(config(2, 1, 100000, 30), 1, 1).total_passes, 30);
}

TEST(Schedule, AFinishedRunSaysThatThereIsNothingToDo) {
  const JobOverview j = job_overview(config(2, 1, 100000, 10000), 1800, 1);
  EXPECT_NE(describe(j, 21125).find("nothing to do: the run stands at pass 21125 and ends at 10000"),
            std::string::npos);
  EXPECT_NE(describe(j, 0).find("passes 1 to 10000"), std::string::npos);
}

// The learning rates of the golden traces: lr 1e-3, warm-up 2 of 50.
TEST(Schedule, TheCosineReproducesTheStoredTrace) {
  const double stored[] = {0.0, 0.0005, 0.001, 0.0009989294616193018};
  for (int s = 0; s < 4; ++s) EXPECT_DOUBLE_EQ(learning_rate(LrSchedule::cosine, 1e-3, s, 2, 50), stored[s]) << s;
}

TEST(Schedule, TheRateNeverRisesAgainBeyondTheHorizon) {
  for (const LrSchedule k : {LrSchedule::cosine, LrSchedule::linear})
    for (std::int64_t s = 50; s < 200; ++s) EXPECT_EQ(learning_rate(k, 1.0, s, 2, 50), 0.0);
  EXPECT_EQ(learning_rate(LrSchedule::constant, 1.0, 500, 2, 50), 1.0);
  EXPECT_EQ(learning_rate(LrSchedule::linear, 1.0, 26, 2, 50), 0.5);
  EXPECT_EQ(learning_rate(LrSchedule::cosine, 1.0, 0, 0, 50), 1.0);
  EXPECT_EQ(learning_rate(LrSchedule::cosine, 1.0, 3, 2, 0), 0.0);
}

TEST(Schedule, LossWarmUpsOnlyLowerWeights) {
  TrainingConfig t;
  t.losses.l2_loss_weight = 1, t.losses.lpips_loss_weight = 0.5, t.losses.perceptual_loss_weight = 0.25;
  t.losses.ssim_loss_weight = 0.2, t.losses.pointsdist_loss_weight = 0;
  t.losses.warmup_pointsdist = true;
  t.schedule.l2_warmup_steps = 1500;
  const auto early = losses_at(t, 0), middle = losses_at(t, 1000), late = losses_at(t, 1500);
  EXPECT_EQ(early.l2_loss_weight, 0);
  EXPECT_EQ(early.pointsdist_loss_weight, 0.1);
  EXPECT_EQ(early.lpips_loss_weight, 0);
  EXPECT_EQ(early.ssim_loss_weight, 0.2);
  EXPECT_EQ(middle.l2_loss_weight, 1);
  EXPECT_EQ(middle.pointsdist_loss_weight, 0);
  EXPECT_EQ(middle.perceptual_loss_weight, 0);
  EXPECT_EQ(late, t.losses);
}

}  // namespace
}  // namespace mfl
