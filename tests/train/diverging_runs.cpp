// Whole runs that meet a poisoned sample, a learning rate far too high, a loss that overflows, a slow rank, a validation that fails.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "data/sampler.h"
#include "tests/support/run_log_lines.h"
#include "tests/support/temp_folder.h"
#include "tests/support/thread_run.h"

namespace mfl {
namespace {

namespace fs = std::filesystem;
using test::TinyProgram;

struct Set {   // a variable of the environment, for a while
  const char* name;
  Set(const char* n, const std::string& value) : name(n) { ::setenv(name, value.c_str(), 1); }
  ~Set() { ::unsetenv(name); }
};

class Diverging : public ::testing::Test {
 protected:
  explicit Diverging(TinyProgram::Model model = TinyProgram::Model::gslrm)
      : program(model, "", root / "files", 6) {}
  test::TempFolder root;
  TinyProgram program;

  int run(const std::string& name, std::vector<ConfigOverride> more = {}, int n = 1) {
    return test::train_on_ranks(program, root / name, std::move(more), n);
  }
  std::vector<nlohmann::json> lines(const std::string& name, const std::string& event) const { return test::log_lines(program.log(root / name), event); }
  auto state(const std::string& name, std::int64_t number) const {
    for (const auto& c : program.checkpoints(root / name))
      if (c.number == number) return program.state(c.path);
    ADD_FAILURE() << name << " has no checkpoint " << number;
    return std::map<std::string, std::string>{};
  }
  // The sample that the first rank's only place in a batch has at this step.
  std::string sample_at(std::uint64_t step, std::uint64_t seed) const {
    data::Sampler s({.size = 8, .batch = 1, .seed = seed});
    const std::int64_t i = s.picks(step)[0].sample;
    return "scene_00000" + std::to_string(i);
  }
  // A sample of this step of two ranks that step 4, the next epoch's first, does not use.
  std::string met_once(std::uint64_t step, std::uint64_t seed) const {
    data::Sampler s({.size = 8, .batch = 2, .seed = seed});
    const std::vector<data::Pick> now = s.picks(step), then = s.picks(4);
    const std::int64_t first = now[0].sample;
    return "scene_00000" + std::to_string(first == then[0].sample || first == then[1].sample ? now[1].sample : first);
  }
  // No tensor of any checkpoint in the folder, set aside ones included, has a number that is not finite.
  void expect_finite_files(const std::string& name) const {
    for (const auto& e : fs::recursive_directory_iterator(root / name)) {
      const std::string file = e.path().string();
      if (!e.is_regular_file() || file.find(program.checkpoint_part()) == std::string::npos) continue;
      if (file.find(".pt") == std::string::npos && !file.ends_with("optimizer.bin")) continue;
      if (file.ends_with("scaler.pt")) continue;
      const io::Value tree = io::read_torch_file(e.path());
      for (const auto& [tensor, t] : io::tensors_of(tree))
        io::for_each_piece(t, tensor, [&](std::span<const std::byte> b) {
          for (std::size_t i = 0; i + 4 <= b.size(); i += 4) {
            float x;
            std::memcpy(&x, b.data() + i, 4);
            ASSERT_TRUE(std::isfinite(x)) << file << ": " << tensor;
          }
        });
    }
  }
};
class DivergingViews : public Diverging {
 protected:
  DivergingViews() : Diverging(TinyProgram::Model::mvdiffusion) {}
};

TEST_F(Diverging, APoisonedSampleIsLeftOutByAllRanksAndNamed) {
  const Set poison("MFL_TEST_POISON", "scene_000003");
  ASSERT_EQ(run("four", {{"training.dataloader.batch_size_per_gpu", "1"}}, 4), kExitOk);
  ASSERT_EQ(run("one", {{"training.dataloader.batch_size_per_gpu", "4"}}), kExitOk);
  const auto skipped = lines("four", "non_finite"), alone = lines("one", "non_finite"), a = lines("four", "step"), b = lines("one", "step");
  ASSERT_EQ(skipped.size(), 3u);   // once in each of three epochs
  ASSERT_EQ(alone.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(skipped[i]["pass"], alone[i]["pass"]);
    ASSERT_EQ(skipped[i]["suspects"].size(), 1u) << skipped[i].dump();
    const auto& suspect = skipped[i]["suspects"][0];
    EXPECT_EQ(suspect["samples"], nlohmann::json({"scene_000003"}));
    EXPECT_EQ(suspect["micro_batch"], 0);
    EXPECT_EQ(suspect["terms"][0], "l2_loss");
    EXPECT_TRUE(skipped[i]["certain"].get<bool>());
    EXPECT_EQ(alone[i]["suspects"][0]["samples"].size(), 4u);   // one mean over a rank's batch
  }
  EXPECT_EQ(a.back()["update"], 3);
  // A rank that had applied one of them would show in the others' losses.
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i]["loss"].is_null(), b[i]["loss"].is_null());
    if (a[i]["loss"].is_null()) continue;
    EXPECT_NEAR(a[i]["loss"].get<double>(), b[i]["loss"].get<double>(), 1e-3 * a[i]["loss"].get<double>()) << i;
  }
  EXPECT_TRUE(lines("four", "rolled_back").empty());
  expect_finite_files("four");
}

TEST_F(Diverging, ARunGoesBackOnceWithItsDataWhereTheyWereAndOnTheSameBitsAfterAResume) {
  const Set poison("MFL_TEST_POISON", sample_at(4, 777));   // of the fifth pass, and not again before the ninth
  const std::vector<ConfigOverride> strict = {{"training.dataloader.batch_size_per_gpu", "1"}, {"mfl.faults.max_non_finite", "1"}};
  auto shorter = strict, longer = strict;
  shorter.push_back({"training.schedule.max_fwdbwd_passes", "5"});
  ASSERT_EQ(run("straight", strict), kExitOk);
  ASSERT_EQ(run("again", strict), kExitOk);
  ASSERT_EQ(run("stopped", shorter), kExitOk);
  ASSERT_EQ(run("stopped", strict), kExitOk);
  const auto back = lines("straight", "rolled_back");
  ASSERT_EQ(back.size(), 1u);
  EXPECT_EQ(back[0]["pass"], 5);
  EXPECT_EQ(back[0]["to_pass"], 3);    // the update of pass 4 went well on the weights of pass 3; nothing is known of those of 4
  EXPECT_EQ(back[0]["data_position"], 5);  // behind the poison
  EXPECT_EQ(back[0]["set_aside"], 1);
  EXPECT_TRUE(fs::exists(root / "straight" / (checkpoint_name(4) + ".unsound")));
  EXPECT_EQ(lines("stopped", "rolled_back").size(), 1u);
  const auto end = state("straight", 6);
  EXPECT_EQ(end, state("again", 6));
  EXPECT_EQ(end, state("stopped", 6));
  EXPECT_EQ(end.at("data_position"), "8");
  EXPECT_EQ(end.at("param_update_step"), "6");
  EXPECT_EQ(end.at("last_epoch"), "6");
  expect_finite_files("straight");
  // It meets the poison again in the next epoch: the end, with a report, and the newest sound checkpoint for the next start.
  longer.push_back({"training.schedule.max_fwdbwd_passes", "20"});
  ASSERT_EQ(run("straight2", longer, 1), kExitNotFinite);
  const auto report = lines("straight2", "diverged");
  ASSERT_EQ(report.size(), 1u);
  EXPECT_EQ(report[0]["rollbacks"], 1);
  const std::string said = report[0]["report"];
  for (const std::string& part : {sample_at(4, 777), std::string("learning rate"), std::string("gradient norm"), std::string("What to try"), std::string("can go on from")})
    EXPECT_NE(said.find(part), std::string::npos) << part << " in " << said;
  EXPECT_EQ(lines("straight2", "rolled_back").size(), 1u);
}

TEST_F(Diverging, FourRanksGoBackTogether) {
  const Set poison("MFL_TEST_POISON", "scene_000003");
  // Every epoch is two updates: the second meeting ends the run.
  ASSERT_EQ(run("four", {{"training.dataloader.batch_size_per_gpu", "1"}, {"mfl.faults.max_non_finite", "1"}}, 4), kExitNotFinite);
  EXPECT_EQ(lines("four", "rolled_back").size(), 1u);
  EXPECT_EQ(lines("four", "diverged").size(), 1u);
}

// The other rank's share of the moments may still be on its way to a checkpoint when it is to be overwritten.
TEST_F(Diverging, DividedStateGoesBackToTheSameBits) {
  for (const int to : {0, 1}) {   // 0: the start, nothing is read, moments begin at zero
    const Set poison("MFL_TEST_POISON", met_once(std::uint64_t(to) + 1, 777));
    const std::string end = std::to_string(to + 2);
    for (const char* divided : {"true", "false"})
      ASSERT_EQ(run(end + divided, {{"training.dataloader.batch_size_per_gpu", "1"}, {"mfl.faults.max_non_finite", "1"},
                                    {"training.schedule.max_fwdbwd_passes", end}, {"mfl.shard_optimizer", divided}}, 2), kExitOk);
    ASSERT_EQ(lines(end + "true", "rolled_back").size(), 1u);
    EXPECT_EQ(lines(end + "true", "rolled_back")[0]["to_pass"], to);
    EXPECT_EQ(state(end + "true", to + 2), state(end + "false", to + 2));
  }
}

TEST_F(Diverging, ALearningRateFarTooHighIsRolledBackThenStoppedAndNothingOnDiskIsNotFinite) {
  ASSERT_EQ(run("run", {{"training.schedule.max_fwdbwd_passes", "3"}}), kExitOk);
  const auto good = state("run", 2), newest = state("run", 3);
  // The next update makes weights infinite: its checkpoint is refused.
  ASSERT_EQ(run("run", {{"training.optimizer.lr", "1e39"}, {"training.schedule.max_fwdbwd_passes", "40"}, {"training.checkpointing.checkpoints_total_limit", "1"},
                        {"mfl.faults.max_non_finite", "4"}}), kExitNotFinite);
  const auto refused = lines("run", "checkpoint_refused");
  ASSERT_GE(refused.size(), 1u);
  EXPECT_EQ(refused[0]["pass"], 4);
  EXPECT_NE(refused[0]["what"].get<std::string>().find("is not a finite number"), std::string::npos);
  EXPECT_EQ(lines("run", "rolled_back").size(), 1u);
  EXPECT_EQ(lines("run", "diverged").size(), 1u);
  EXPECT_EQ(good, state("run", 2));
  EXPECT_EQ(newest, state("run", 3));
  EXPECT_EQ(program.checkpoints(root / "run").back().number, 3);
  expect_finite_files("run");
  // And the run goes on with a better one.
  EXPECT_EQ(run("run"), kExitOk);
}

TEST_F(Diverging, ALearningRateThatBreaksTheWeightsEndsWithAReport) {
  ASSERT_EQ(run("run", {{"training.optimizer.lr", "1e30"}, {"training.schedule.max_fwdbwd_passes", "40"}, {"mfl.faults.max_non_finite", "4"}}), kExitNotFinite);
  EXPECT_EQ(lines("run", "rolled_back").size(), 1u);
  EXPECT_EQ(lines("run", "rolled_back")[0]["to_pass"], 1);   // the first update of the warm-up has a rate of 0
  expect_finite_files("run");
}

TEST_F(Diverging, AnOverflowingLossIsLeftOutWithAllSamplesOfItsUpdates) {
  // Finite terms, a total and gradients beyond f32. No update was ever applied: there is nothing to go back to.
  ASSERT_EQ(run("run", {{"training.losses.l2_loss_weight", "1e42"}, {"training.losses.ssim_loss_weight", "1e42"}, {"mfl.faults.max_non_finite", "3"}}), kExitNotFinite);
  const auto skipped = lines("run", "non_finite");
  ASSERT_EQ(skipped.size(), 3u);
  EXPECT_FALSE(skipped[0]["certain"].get<bool>()) << skipped[0].dump();
  EXPECT_EQ(skipped[0]["suspects"][0]["samples"].size(), 2u);
  EXPECT_NE(skipped[0]["what"].get<std::string>().find("the gradient of"), std::string::npos);
  EXPECT_TRUE(lines("run", "rolled_back").empty());
}

TEST_F(Diverging, WithoutRollbackItEndsAtOnce) {
  ASSERT_EQ(run("run", {{"training.optimizer.lr", "1e30"}, {"mfl.faults.max_non_finite", "2"}, {"mfl.faults.rollback", "false"}}), kExitNotFinite);
  EXPECT_TRUE(lines("run", "rolled_back").empty());
}

TEST_F(Diverging, ASlowRankIsNamedWithItsHost) {
  const Set slow("MFL_TEST_SLOW_RANK", "2:250");
  ASSERT_EQ(run("four", {{"training.dataloader.batch_size_per_gpu", "1"}, {"training.schedule.max_fwdbwd_passes", "26"}, {"training.checkpointing.checkpoint_every", "100"}}, 4), kExitOk);
  const auto said = lines("four", "slow_rank");
  ASSERT_GE(said.size(), 1u);
  EXPECT_EQ(said[0]["rank"], 2);
  EXPECT_FALSE(said[0]["host"].get<std::string>().empty());
  const auto times = lines("four", "step").back()["rank_seconds"].get<std::vector<double>>();
  ASSERT_EQ(times.size(), 4u);
  EXPECT_GE(times[2], 0.25);
  for (const std::size_t r : {0, 1, 3}) EXPECT_LT(times[r], times[2]);
}

// The pass's checkpoint is written although it was not due, the run ends with the cause, and what was learnt goes on.
TEST_F(Diverging, AFailedValidationCostsNothingThatWasLearnt) {
  test::write_scenes(root / "val.h5", 4, 16, 2, /*first=*/20);
  for (const int ranks : {1, 2}) {
    const std::string n = std::to_string(ranks);
    const std::vector<ConfigOverride> validated = {
        {"validation.enabled", "true"}, {"validation.val_every", "2"}, {"validation.output_dir", (root / ("val" + n)).string()},
        {"validation.dataset_path", (root / "val.h5").string()}, {"mfl.render.video", "false"}, {"mfl.render.turntable_views", "2"}, {"mfl.render.turntable_size", "16"},
        {"mfl.keep_best", "none"}, {"training.checkpointing.checkpoint_every", "3"}, {"training.dataloader.batch_size_per_gpu", std::to_string(2 / ranks)}};
    auto shorter = validated;
    shorter.push_back({"training.schedule.max_fwdbwd_passes", "3"});
    ASSERT_EQ(run("straight" + n, validated, ranks), kExitOk);
    ASSERT_EQ(run("failed" + n, shorter, ranks), kExitOk);
    {
      const Set poison("MFL_TEST_POISON", "scene_000021");   // whom the second of two ranks renders
      ASSERT_EQ(run("failed" + n, validated, ranks), kExitData);
    }
    const auto failed = lines("failed" + n, "validation_failed");
    ASSERT_EQ(failed.size(), 1u);
    EXPECT_EQ(failed[0]["pass"], 4);
    EXPECT_NE(failed[0]["what"].get<std::string>().find("psnr"), std::string::npos) << failed[0].dump();
    EXPECT_EQ(program.checkpoints(root / ("failed" + n)).back().number, 4);
    ASSERT_EQ(run("failed" + n, validated, ranks), kExitOk);
    EXPECT_EQ(lines("failed" + n, "start").back()["pass"], 4);
    EXPECT_EQ(state("straight" + n, 6), state("failed" + n, 6));
  }
}

TEST_F(DivergingViews, APoisonedObjectIsNamedAndTheRunGoesBackOnceOnTheSameBits) {
  const Set poison("MFL_TEST_POISON", sample_at(3, 42) + "=1e30");   // its loss overflows
  const std::vector<ConfigOverride> strict = {{"train_batch_size", "1"}, {"mfl.faults.max_non_finite", "1"}, {"max_train_steps", "5"}};
  auto shorter = strict;
  shorter.push_back({"max_train_steps", "4"});
  ASSERT_EQ(run("straight", strict), kExitOk);
  ASSERT_EQ(run("stopped", shorter), kExitOk);
  ASSERT_EQ(run("stopped", strict), kExitOk);
  const auto skipped = lines("straight", "non_finite"), back = lines("straight", "rolled_back");
  ASSERT_EQ(skipped.size(), 1u);
  EXPECT_EQ(skipped[0]["pass"], 4);
  EXPECT_EQ(skipped[0]["suspects"][0]["samples"], nlohmann::json({sample_at(3, 42)}));
  ASSERT_EQ(back.size(), 1u);
  EXPECT_EQ(back[0]["to_pass"], 2);
  EXPECT_EQ(back[0]["data_position"], 4);
  EXPECT_TRUE(fs::exists(root / "straight" / "checkpoint-3.unsound"));
  const auto end = state("straight", 5);
  EXPECT_EQ(end, state("stopped", 5));
  EXPECT_EQ(end.at("ema_updates"), "5");
  EXPECT_EQ(end.at("updates"), "5");
  EXPECT_EQ(end.at("data_position"), "7");
}

TEST_F(DivergingViews, DividedStateGoesBackToTheSameBits) {
  const Set poison("MFL_TEST_POISON", met_once(2, 42) + "=1e30");
  for (const char* divided : {"true", "false"})
    ASSERT_EQ(run(divided, {{"train_batch_size", "1"}, {"mfl.faults.max_non_finite", "1"}, {"max_train_steps", "3"}, {"mfl.shard_optimizer", divided}}, 2), kExitOk);
  ASSERT_EQ(lines("true", "rolled_back").size(), 1u);
  EXPECT_EQ(lines("true", "rolled_back")[0]["to_pass"], 1);
  EXPECT_EQ(state("true", 3), state("false", 3));
}

TEST_F(DivergingViews, TwoRanksLeaveAPoisonedObjectOutAndALearningRateFarTooHighStops) {
  {
    const Set poison("MFL_TEST_POISON", "scene_000005");
    ASSERT_EQ(run("two", {{"max_train_steps", "4"}, {"train_batch_size", "1"}, {"checkpointing_steps", "4"}}, 2), kExitOk);
    const auto skipped = lines("two", "non_finite");
    ASSERT_EQ(skipped.size(), 1u);   // four steps are an epoch
    ASSERT_EQ(skipped[0]["suspects"].size(), 1u);
    EXPECT_EQ(skipped[0]["suspects"][0]["samples"], nlohmann::json({"scene_000005"}));
    EXPECT_EQ(lines("two", "step").back()["update"], 3);
    EXPECT_EQ(lines("two", "step").back()["rank_seconds"].size(), 2u);
  }
  ASSERT_EQ(run("two", {{"learning_rate", "1e39"}, {"max_train_steps", "20"}, {"train_batch_size", "1"}, {"mfl.faults.max_non_finite", "2"}}, 2), kExitNotFinite);
  EXPECT_GE(lines("two", "checkpoint_refused").size(), 1u);
  EXPECT_EQ(lines("two", "diverged").size(), 1u);
  EXPECT_EQ(program.checkpoints(root / "two").back().number, 4);
  expect_finite_files("two");
}

}  // namespace
}  // namespace mfl
