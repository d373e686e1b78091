// Whole runs of a tiny model on the CPU: learning, resume on the same bits, data parallel, refusal of bad starts.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "runtime/io/torch_file.h"
#include "tests/support/run_log_lines.h"
#include "tests/support/tiny_gslrm.h"
#include "train/checkpoint.h"
#include "train/gslrm_trainer.h"
#include "train/schedule.h"
#include "train/validation.h"

namespace mfl {
namespace {

namespace fs = std::filesystem;

class Training : public ::testing::Test {
 protected:
  fs::path root = fs::temp_directory_path() / ("mfl_training_" + std::to_string(::getpid()));
  void SetUp() override {
    fs::create_directories(root);
    test::write_scenes(root / "scenes.h5", 4, 16);
  }
  void TearDown() override { fs::remove_all(root); }

  GslrmConfig config(const std::string& run, std::vector<ConfigOverride> more = {}) const {
    more.insert(more.begin(), {"training.checkpointing.checkpoint_dir", (root / run).string()});
    return parse_gslrm_config(test::tiny_gslrm_yaml({.data = (root / "scenes.h5").string()}), "training.yaml", more).config;
  }
  static int train(const GslrmConfig& c, const LaunchOptions& launch = {}) {
    auto comm = make_single(kCpu);
    return train_gslrm(c, *comm, launch);
  }
  static int train_ranks(const GslrmConfig& c, int n) {
    auto ranks = make_thread_ranks(n);
    std::vector<int> codes(std::size_t(n), -1);
    std::vector<std::thread> threads;
    for (int r = 0; r < n; ++r)
      threads.emplace_back([&, r] { codes[std::size_t(r)] = run_rank(*ranks[std::size_t(r)], [&] { return train_gslrm(c, *ranks[std::size_t(r)]); }); });
    for (auto& t : threads) t.join();
    return *std::max_element(codes.begin(), codes.end());
  }
  // Model and optimizer tensors of a checkpoint, as bytes by name.
  std::map<std::string, std::vector<std::byte>> tensors(const std::string& run, std::int64_t pass) const {
    std::map<std::string, std::vector<std::byte>> out;
    const io::Value file = io::read_torch_file(root / run / checkpoint_name(pass));
    for (const auto& [name, t] : io::tensors_of(file))
      io::for_each_piece(t, name, [&](std::span<const std::byte> b) { out[name].insert(out[name].end(), b.begin(), b.end()); });
    return out;
  }
  // Lines of a run's log with this event.
  std::vector<nlohmann::json> lines(const std::string& run, const std::string& event) const {
    return mfl::test::log_lines(root / run / "log.jsonl", event);
  }
  std::vector<double> losses(const std::string& run) const {
    std::vector<double> out;
    for (const auto& j : lines(run, "step")) out.push_back(j["loss"]);
    return out;
  }
};

TEST_F(Training, LossFalls) {
  ASSERT_EQ(train(config("falls", {{"training.schedule.max_fwdbwd_passes", "60"}})), kExitOk);
  const auto l = losses("falls");
  ASSERT_EQ(l.size(), 60u);
  EXPECT_LT(l.back(), 0.7 * l.front());
}

TEST_F(Training, ResumeIsBitwise) {
  ASSERT_EQ(train(config("straight")), kExitOk);
  ASSERT_EQ(train(config("stopped", {{"training.schedule.max_fwdbwd_passes", "3"}})), kExitOk);
  ASSERT_EQ(train(config("stopped")), kExitOk);
  EXPECT_EQ(tensors("straight", 6), tensors("stopped", 6));
}

TEST_F(Training, ResumeIsBitwiseOnFourRanks) {
  const std::vector<ConfigOverride> one = {{"training.dataloader.batch_size_per_gpu", "1"}};
  auto shorter = one;
  shorter.push_back({"training.schedule.max_fwdbwd_passes", "3"});
  ASSERT_EQ(train_ranks(config("straight4", one), 4), kExitOk);
  ASSERT_EQ(train_ranks(config("stopped4", shorter), 4), kExitOk);
  ASSERT_EQ(train_ranks(config("stopped4", one), 4), kExitOk);
  EXPECT_EQ(tensors("straight4", 6), tensors("stopped4", 6));
}

// Divided optimizer state: the same checkpoints, which go on in any division and on any number of ranks (mfl.shard_optimizer).
TEST_F(Training, DividedStateHasTheSameBitsAcrossResumesOnOtherNumbersOfRanks) {
  auto part = [&](const std::string& run, int ranks, int passes, bool divided) {
    return train_ranks(config(run, {{"training.dataloader.batch_size_per_gpu", "1"}, {"training.schedule.max_fwdbwd_passes", std::to_string(passes)},
                                    {"training.checkpointing.checkpoint_every", "2"}, {"mfl.shard_optimizer", divided ? "true" : "false"}}), ranks);
  };
  for (const auto& [ranks, passes] : {std::pair{4, 2}, {1, 4}, {2, 6}}) {
    ASSERT_EQ(part("whole", ranks, passes, false), kExitOk);
    ASSERT_EQ(part("divided", ranks, passes, ranks != 1), kExitOk);
    EXPECT_TRUE(tensors("whole", passes) == tensors("divided", passes)) << passes;
  }
}

TEST_F(Training, FourRanksEqualOneOverFiftySteps) {
  const std::vector<ConfigOverride> fifty = {{"training.schedule.max_fwdbwd_passes", "50"}, {"training.checkpointing.checkpoint_every", "50"}};
  auto split = fifty;
  split.push_back({"training.dataloader.batch_size_per_gpu", "1"});
  ASSERT_EQ(train(config("one", fifty)), kExitOk);
  ASSERT_EQ(train_ranks(config("four", split), 4), kExitOk);
  const auto a = losses("one"), b = losses("four");
  ASSERT_EQ(a.size(), 50u);
  ASSERT_EQ(b.size(), 50u);
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 2e-3 * a[i]) << "step " << i;
}

TEST_F(Training, AccumulationEqualsTheLargerBatch) {
  ASSERT_EQ(train(config("large")), kExitOk);
  ASSERT_EQ(train(config("accumulated", {{"training.dataloader.batch_size_per_gpu", "2"}, {"training.runtime.grad_accum_steps", "2"},
                                         {"training.schedule.max_fwdbwd_passes", "12"}})), kExitOk);
  const auto a = losses("large"), b = losses("accumulated");
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-4 * a[i]) << "update " << i;
}

TEST_F(Training, NonFiniteUpdatesLeaveTheWeightsAndEndTheRun) {
  // A learning rate that throws the weights to infinity: every later update must be left out.
  const int code = train(config("diverges", {{"training.optimizer.lr", "1e30"}, {"training.schedule.max_fwdbwd_passes", "40"},
                                             {"mfl.max_skipped", "5"}}));
  EXPECT_EQ(code, kExitNotFinite);
}

TEST_F(Training, StartsThatCannotBeRightAreRefused) {
  EXPECT_THROW(train(config("a", {{"training.checkpointing.resume_ckpt", "/nowhere/ckpt_0000000000000001.pt"}})), DataError);
  EXPECT_THROW(train(config("b", {{"mfl.resume", "/nowhere"}})), ConfigError);
  ASSERT_EQ(train(config("c", {{"training.schedule.max_fwdbwd_passes", "3"}})), kExitOk);
  // Another width: the coverage table, and no training.
  try {
    train(config("d", {{"model.transformer.d", "64"}, {"mfl.init", (root / "c" / checkpoint_name(3)).string()}}));
    FAIL();
  } catch (const DataError& e) {
    EXPECT_NE(std::string(e.what()).find("wrong shape"), std::string::npos) << e.what();
  }
}

TEST_F(Training, InitialisesFromWeightsAtStepZero) {
  ASSERT_EQ(train(config("source", {{"training.schedule.max_fwdbwd_passes", "3"}})), kExitOk);
  ASSERT_EQ(train(config("target", {{"mfl.init", (root / "source" / checkpoint_name(3)).string()}, {"training.schedule.max_fwdbwd_passes", "3"}})), kExitOk);
  EXPECT_EQ(losses("target").size(), 3u);
  EXPECT_TRUE(fs::exists(root / "target" / checkpoint_name(3)));
}

// Another run's checkpoint with reset_lr: a schedule of its own over what is left, once; a run's own checkpoint goes on with it.
TEST_F(Training, ResetLrBeginsAScheduleOfItsOwnAndAResumeKeepsIt) {
  ASSERT_EQ(train(config("first", {{"training.schedule.max_fwdbwd_passes", "3"}})), kExitOk);
  std::vector<ConfigOverride> reset = {{"training.checkpointing.resume_ckpt", (root / "first" / checkpoint_name(3)).string()},
                                       {"training.optimizer.reset_lr", "true"}, {"training.optimizer.lr", "0.004"}, {"mfl.lr_updates", "0"},
                                       {"training.schedule.max_fwdbwd_passes", "9"}};
  auto stopped = reset;
  stopped.push_back({"training.schedule.early_stop_after", "6"});
  const GslrmConfig c = config("straight", reset);
  ASSERT_EQ(train(c), kExitOk);
  const std::int64_t left = job_overview(c, 8, 1).lr_updates - 3;
  const auto steps = lines("straight", "step");
  ASSERT_EQ(steps.size(), 6u);
  for (std::size_t i = 0; i < steps.size(); ++i)
    EXPECT_DOUBLE_EQ(steps[i]["lr"].get<double>(), learning_rate(LrSchedule::cosine, 0.004, std::int64_t(i), 2, left)) << i;
  ASSERT_EQ(train(config("stopped", stopped)), kExitOk);
  ASSERT_EQ(train(config("stopped/", reset)), kExitOk);
  EXPECT_TRUE(tensors("straight", 9) == tensors("stopped", 9));
  // Without it the schedule goes on where it was.
  reset[1].value = "false";
  ASSERT_EQ(train(config("goes_on", reset)), kExitOk);
  EXPECT_DOUBLE_EQ(lines("goes_on", "step")[0]["lr"].get<double>(), learning_rate(LrSchedule::cosine, 0.004, 3, 2, left + 3));
}

TEST_F(Training, ATrainingProgramRefusesToEvaluate) {
  EXPECT_THROW(train(config("e", {{"evaluation", "true"}})), ConfigError);
  EXPECT_THROW(train(config("i", {{"inference.enabled", "true"}})), ConfigError);
}

TEST_F(Training, ValidationReportsLpipsThatNoLossUsesOrSaysWhatIsMissing) {
  const std::vector<ConfigOverride> validating = {
      {"validation.enabled", "true"}, {"validation.val_every", "100"}, {"validation.output_dir", (root / "val").string()},
      {"validation.dataset_path", (root / "scenes.h5").string()}, {"mfl.val_samples", "2"}, {"mfl.render.video", "false"},
      {"mfl.render.turntable_size", "16"}, {"training.schedule.max_fwdbwd_passes", "1"}};
  auto with = validating;
  with.push_back({"mfl.weights.vgg16", "formula"}), with.push_back({"mfl.weights.lpips", "formula"});
  ASSERT_EQ(train(config("with", with)), kExitOk);
  ASSERT_EQ(train(config("without", validating)), kExitOk);
  const auto first = [&](const std::string& run) {
    for (const auto& j : lines(run, "validation")) return j;
    return nlohmann::json{};
  };
  EXPECT_GT(first("with")["lpips"].get<double>(), 0);
  EXPECT_FALSE(first("with").contains("missing"));
  EXPECT_FALSE(first("without").contains("lpips"));
  EXPECT_EQ(first("without")["missing"], "lpips");
  // The metric's network is no part of a checkpoint: its names are those of a run without it.
  EXPECT_EQ(tensors("with", 1), tensors("without", 1));
  // Half of what is needed: the other half is named, with its place.
  auto half = validating;
  half.push_back({"mfl.weights.lpips", "formula"});
  const std::string missing = lpips_metric(config("half", half)).missing;
  EXPECT_NE(missing.find("vgg16-397923af.pth"), std::string::npos) << missing;
  EXPECT_EQ(missing.find("vgg.pth"), std::string::npos) << missing;
}

TEST_F(Training, LeavesPicturesOfTheTrainingBatch) {
  ASSERT_EQ(train(config("pictures", {{"training.logging.vis_every", "4"}})), kExitOk);
  // Before the first pass and before the fifth, named after the pass that used them.
  for (const char* folder : {"iter_00000001", "iter_00000005"}) {
    int files = 0;
    for (const auto& f : fs::directory_iterator(root / "pictures" / folder)) {
      EXPECT_TRUE(f.path().filename().string().starts_with("supervision_")) << f.path();
      EXPECT_GT(f.file_size(), 500u);
      ++files;
    }
    EXPECT_EQ(files, 2) << folder;
  }
  EXPECT_FALSE(fs::exists(root / "pictures" / "iter_00000002"));
  ASSERT_EQ(train(config("bare", {{"training.logging.vis_every", "0"}})), kExitOk);
  EXPECT_FALSE(fs::exists(root / "bare" / "iter_00000001"));
  // They change nothing.
  EXPECT_EQ(tensors("pictures", 6), tensors("bare", 6));
}

// What a validation shows is made beside training.
class Showing : public Training {
 protected:
  static constexpr int kPasses[] = {0, 2, 4, 6};
  static constexpr const char* kFiles[] = {"gt_vs_pred.png", "input.png", "gaussians.ply", "viewer.html", "turntable.png"};
  std::vector<ConfigOverride> validating(const fs::path& folder) const {
    return {{"validation.enabled", "true"}, {"validation.val_every", "2"}, {"validation.output_dir", folder.string()},
            {"validation.dataset_path", (root / "scenes.h5").string()}, {"mfl.val_samples", "5"}, {"mfl.render.turntable_views", "3"},
            {"mfl.render.turntable_size", "16"}, {"mfl.render.video_views", "4"}, {"mfl.keep_best", "none"}};
  }
};

TEST_F(Showing, ChangesNoBitOfTheRunAndIsCompleteAtItsEnd) {
  ASSERT_EQ(train(config("bare")), kExitOk);
  ASSERT_EQ(train(config("shown", validating(root / "val"))), kExitOk);
  EXPECT_EQ(tensors("bare", 6), tensors("shown", 6));
  const auto shown = lines("shown", "shown"), validations = lines("shown", "validation"), end = lines("shown", "end");
  ASSERT_EQ(shown.size(), 4u);
  ASSERT_EQ(validations.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(shown[i]["pass"], kPasses[i]);
    EXPECT_GT(validations[i]["seconds"].get<double>(), 0);
    for (const char* fact : {"ply", "viewer", "turntable", "video"}) EXPECT_TRUE(fs::exists(shown[i].value(fact, ""))) << fact << " at " << kPasses[i];
    const fs::path folder = fs::path(shown[i].value("ply", "")).parent_path();
    for (const char* file : kFiles) EXPECT_GT(fs::file_size(folder / file), 60u) << folder / file;
    EXPECT_EQ(std::distance(fs::directory_iterator(folder), fs::directory_iterator()), 6) << "temporary files in " << folder;
  }
  ASSERT_EQ(end.size(), 1u);
  EXPECT_GT(end[0]["validation_seconds"].get<double>(), 0);
  EXPECT_GE(end[0]["seconds"].get<double>(), end[0]["validation_seconds"].get<double>());
  EXPECT_LE(end[0]["validation_share"].get<double>(), 1);
}

TEST_F(Showing, CudaRunKeepsItsBitsBesideIt) {
  if (cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
  auto on_gpu = [&](const std::string& run, std::vector<ConfigOverride> more) {
    auto comm = make_single({DeviceKind::cuda, 0});
    more.push_back({"mfl.device", "cuda"});
    return train_gslrm(config(run, more), *comm);
  };
  ASSERT_EQ(on_gpu("bare", {}), kExitOk);
  ASSERT_EQ(on_gpu("shown", validating(root / "val")), kExitOk);
  EXPECT_EQ(tensors("bare", 6), tensors("shown", 6));
  for (const auto& shown : lines("shown", "shown")) EXPECT_TRUE(fs::exists(shown.value("video", ""))) << shown.dump();
}

TEST_F(Showing, AFolderThatCannotBeWrittenIsAWarning) {
  // A file stands where the folder should be.
  ASSERT_EQ(train(config("refused", validating(root / "scenes.h5" / "val"))), kExitOk);
  EXPECT_TRUE(fs::exists(root / "refused" / checkpoint_name(6)));
  EXPECT_EQ(lines("refused", "validation").size(), 4u);
  const auto shown = lines("refused", "shown");
  ASSERT_EQ(shown.size(), 4u);
  EXPECT_FALSE(shown[0].contains("ply"));
  EXPECT_NE(shown[0]["missing"].get<std::string>().find("scenes.h5"), std::string::npos) << shown[0].dump();
}

TEST_F(Training, RandomTargetCropsTrainAndResumeOnTheSameBits) {
  const std::vector<ConfigOverride> small = {{"model.image_tokenizer.image_size", "24"}, {"training.crop_size", "16"},
                                             {"training.losses.pixelalign_loss_weight", "0.1"}};
  auto shorter = small;
  shorter.push_back({"training.schedule.max_fwdbwd_passes", "3"});
  ASSERT_EQ(train(config("crops", small)), kExitOk);
  ASSERT_EQ(train(config("crops_stopped", shorter)), kExitOk);
  ASSERT_EQ(train(config("crops_stopped", small)), kExitOk);
  EXPECT_EQ(tensors("crops", 6), tensors("crops_stopped", 6));
}

TEST_F(Training, KeepsAsManyCheckpointsAsAllowed) {
  ASSERT_EQ(train(config("kept", {{"training.checkpointing.checkpoint_every", "1"}, {"training.checkpointing.checkpoints_total_limit", "2"}})), kExitOk);
  EXPECT_EQ(list_checkpoints(root / "kept").size(), 2u);
  EXPECT_EQ(list_checkpoints(root / "kept").back().pass, 6);
  // Every save is on record, with what it cost.
  const auto saves = lines("kept", "checkpoint");
  ASSERT_EQ(saves.size(), 6u);
  for (const auto& j : saves) {
    EXPECT_GE(j["stall_seconds"].get<double>(), 0);
    EXPECT_GT(j["write_seconds"].get<double>(), 0);
    EXPECT_GT(j["bytes"].get<double>(), 0);
  }
  // A new run in the folder of one that came further prunes its own, and never those.
  ASSERT_EQ(train(config("kept", {{"mfl.resume", "never"}, {"training.schedule.max_fwdbwd_passes", "3"}, {"training.checkpointing.checkpoint_every", "1"},
                                  {"training.checkpointing.checkpoints_total_limit", "2"}})), kExitOk);
  std::vector<std::int64_t> left;
  for (const CheckpointFile& f : list_checkpoints(root / "kept")) left.push_back(f.pass);
  EXPECT_EQ(left, (std::vector<std::int64_t>{2, 3, 5, 6}));
}

TEST_F(Training, VerifiedCheckpointsAreReadBack) {
  ASSERT_EQ(train(config("verified"), {.verify_checkpoints = true}), kExitOk);
  ASSERT_EQ(lines("verified", "checkpoint").size(), 2u);
  for (const auto& j : lines("verified", "checkpoint")) EXPECT_EQ(j["verified"], "yes");
}

TEST_F(Training, ACheckpointThatCannotBeWrittenEndsTheRun) {
  // A folder where the file should go.
  fs::create_directories(root / "blocked" / checkpoint_name(3) / "in the way");
  EXPECT_THROW(train(config("blocked", {{"mfl.resume", "never"}})), Error);
}

}  // namespace
}  // namespace mfl
