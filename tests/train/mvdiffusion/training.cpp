// Whole runs of MVDiffusion with a tiny pipeline on the CPU: learning, resume on the same bits, data parallel, refusals.
#include <gtest/gtest.h>

#include <numeric>
#include <thread>

#include "tests/train/mvdiffusion/run_support.h"
#include "train/mvdiffusion/checkpoint.h"
#include "train/mvdiffusion/plan.h"
#include "train/mvdiffusion/trainer.h"

namespace mfl::mvdiffusion {
namespace {

namespace fs = std::filesystem;

class MvDiffusionTraining : public ::testing::Test, public test::TinyRun {
 protected:
  explicit MvDiffusionTraining(int side = 8, int objects = 8) : TinyRun(side, objects) {}
  static int run(const TrainConfig& c, const LaunchOptions& launch = {}) {
    auto comm = make_single(kCpu);
    return train(c, *comm, launch);
  }
  static int run_ranks(const TrainConfig& c, int n) {
    auto ranks = make_thread_ranks(n);
    std::vector<int> codes(std::size_t(n), -1);
    std::vector<std::thread> threads;
    for (int r = 0; r < n; ++r)
      threads.emplace_back([&, r] { codes[std::size_t(r)] = run_rank(*ranks[std::size_t(r)], [&] { return train(c, *ranks[std::size_t(r)]); }); });
    for (auto& t : threads) t.join();
    return *std::max_element(codes.begin(), codes.end());
  }
  static std::string error_of(const TrainConfig& c) {
    try {
      run(c);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }
};

double mean(const std::vector<double>& v, std::size_t first, std::size_t count) {
  return std::accumulate(v.begin() + std::ptrdiff_t(first), v.begin() + std::ptrdiff_t(first + count), 0.0) / double(count);
}

TEST_F(MvDiffusionTraining, LossFallsAndLeavesAPipeline) {
  ASSERT_EQ(run(config("falls", {{"train_batch_size", "4"}, {"max_train_steps", "24"}, {"checkpointing_steps", "24"}})), kExitOk);
  const auto l = losses("falls");
  ASSERT_EQ(l.size(), 24u);
  EXPECT_LT(mean(l, 16, 8), 0.6 * mean(l, 0, 3));
  for (const auto& j : lines("falls", "step")) EXPECT_GT(j["grad_norm"].get<double>(), 0);
  // The pipeline that it leaves starts another run.
  TrainConfig next = config("next", {{"max_train_steps", "1"}});
  next.pretrained_model_name_or_path = (root / "falls" / "pipeckpts").string();
  EXPECT_EQ(run(next), kExitOk);
  EXPECT_LT(losses("next")[0], mean(l, 0, 1));
  EXPECT_TRUE(fs::exists(root / "falls" / "config.yaml"));
  EXPECT_EQ(load_train_config((root / "falls" / "config.yaml").string()).config.max_train_steps, 24);
}

TEST_F(MvDiffusionTraining, ResumeIsBitwise) {
  ASSERT_EQ(run(config("straight")), kExitOk);
  ASSERT_EQ(run(config("stopped", {{"max_train_steps", "2"}})), kExitOk);
  ASSERT_EQ(run(config("stopped")), kExitOk);
  EXPECT_EQ(state("straight", 4), state("stopped", 4));
  EXPECT_EQ(lines("stopped", "start").back()["pass"], 2);
}

TEST_F(MvDiffusionTraining, ResumeIsBitwiseOnFourRanksWithAccumulation) {
  const std::vector<ConfigOverride> one = {{"train_batch_size", "1"}, {"gradient_accumulation_steps", "2"}};
  auto shorter = one;
  shorter.push_back({"max_train_steps", "2"});
  ASSERT_EQ(run_ranks(config("straight4", one), 4), kExitOk);
  ASSERT_EQ(run_ranks(config("stopped4", shorter), 4), kExitOk);
  ASSERT_EQ(run_ranks(config("stopped4", one), 4), kExitOk);
  EXPECT_EQ(state("straight4", 4), state("stopped4", 4));
}

// Divided moments and average: the same files, which go on in any division and on any number of ranks (mfl.shard_optimizer).
TEST_F(MvDiffusionTraining, DividedStateHasTheSameBitsAcrossResumesOnOtherNumbersOfRanks) {
  auto part = [&](const std::string& run, int ranks, int steps, bool divided) {
    return run_ranks(config(run, {{"train_batch_size", "1"}, {"max_train_steps", std::to_string(steps)}, {"mfl.offload", divided ? "moments" : "none"},
                                  {"mfl.compute", "bf16"}, {"mfl.shard_optimizer", divided ? "true" : "false"}}), ranks);
  };
  for (const auto& [ranks, steps] : {std::pair{4, 2}, {1, 4}, {2, 6}}) {
    ASSERT_EQ(part("whole", ranks, steps, false), kExitOk);
    ASSERT_EQ(part("divided", ranks, steps, ranks != 1), kExitOk);
    EXPECT_TRUE(state("whole", steps) == state("divided", steps)) << steps;
  }
  auto pipeline = [&](const char* run) {
    std::ifstream in(root / run / "pipeckpts" / "unet" / "diffusion_pytorch_model.safetensors", std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  EXPECT_GT(pipeline("whole").size(), 1000u);
  EXPECT_TRUE(pipeline("whole") == pipeline("divided"));
}

// The same global batch: the same objects with the same noise, whoever holds them.
TEST_F(MvDiffusionTraining, RanksAndAccumulationEqualTheLargerBatch) {
  ASSERT_EQ(run(config("one", {{"train_batch_size", "4"}})), kExitOk);
  ASSERT_EQ(run_ranks(config("four", {{"train_batch_size", "1"}}), 4), kExitOk);
  ASSERT_EQ(run(config("accumulated", {{"train_batch_size", "1"}, {"gradient_accumulation_steps", "4"}})), kExitOk);
  const auto a = losses("one"), b = losses("four"), c = losses("accumulated");
  ASSERT_EQ(a.size(), 4u);
  ASSERT_EQ(b.size(), 4u);
  ASSERT_EQ(c.size(), 4u);
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_NEAR(a[i], b[i], 1e-4 * a[i]) << "step " << i;
    EXPECT_NEAR(a[i], c[i], 1e-4 * a[i]) << "step " << i;
  }
}

TEST_F(MvDiffusionTraining, CachedEncodingsChangeNothing) {
  const std::vector<ConfigOverride> on_disk = {{"mfl.cache.folder", (root / "cache").string()}};
  ASSERT_EQ(run(config("memory")), kExitOk);
  ASSERT_EQ(run(config("none", {{"mfl.cache.memory_gb", "0"}})), kExitOk);
  ASSERT_EQ(run(config("filled", on_disk)), kExitOk);
  ASSERT_EQ(run(config("read", on_disk)), kExitOk);
  for (const char* other : {"none", "filled", "read"}) EXPECT_EQ(state("memory", 4), state(other, 4)) << other;
}

TEST_F(MvDiffusionTraining, RecomputationHasTheSameBitsAndWorkersToo) {
  ASSERT_EQ(run(config("recomputed")), kExitOk);
  ASSERT_EQ(run(config("kept", {{"mfl.recompute", "none"}, {"dataloader_num_workers", "0"}})), kExitOk);
  EXPECT_EQ(state("recomputed", 4), state("kept", 4));
}

// On the CPU the memory is the same; what is tested is that nobody depends on where it came from.
TEST_F(MvDiffusionTraining, MomentsInHostMemoryHasTheSameBits) {
  const std::vector<ConfigOverride> bf16 = {{"mfl.compute", "bf16"}, {"max_train_steps", "2"}};
  auto host = bf16;
  host.push_back({"mfl.offload", "moments"});
  ASSERT_EQ(run(config("device", bf16)), kExitOk);
  ASSERT_EQ(run(config("host", host)), kExitOk);
  EXPECT_EQ(state("device", 2), state("host", 2));
}

TEST_F(MvDiffusionTraining, RandomReferencesWithJitterTrainAndResumeOnTheSameBits) {
  const std::vector<ConfigOverride> mouse = {{"dataset_type", "mouse"}, {"reference_view_idx", "random"}, {"train_dataset.augmentation", "true"}};
  auto shorter = mouse;
  shorter.push_back({"max_train_steps", "2"});
  ASSERT_EQ(run(config("drawn", mouse)), kExitOk);
  ASSERT_EQ(run(config("drawn_stopped", shorter)), kExitOk);
  ASSERT_EQ(run(config("drawn_stopped", mouse)), kExitOk);
  EXPECT_EQ(state("drawn", 4), state("drawn_stopped", 4));
  ASSERT_EQ(run(config("plain", {{"max_train_steps", "2"}})), kExitOk);
  EXPECT_NE(losses("drawn")[0], losses("plain")[0]);
}

TEST_F(MvDiffusionTraining, NonFiniteUpdatesAreLeftOutAndEndTheRun) {
  // A learning rate that throws the weights to infinity: every later update must be left out.
  EXPECT_EQ(run(config("diverges", {{"learning_rate", "1e30"}, {"max_train_steps", "20"}, {"checkpointing_steps", "20"}, {"mfl.max_skipped", "3"}})),
            kExitNotFinite);
  const auto l = lines("diverges", "step");
  EXPECT_EQ(l.back()["update"], 1);
  EXPECT_EQ(lines("diverges", "non_finite").size(), 6u);   // it went back to its start once
  EXPECT_EQ(lines("diverges", "rolled_back").size(), 1u);
  EXPECT_EQ(lines("diverges", "diverged").size(), 1u);
}

TEST_F(MvDiffusionTraining, StartsThatCannotBeRightAreRefused) {
  EXPECT_NE(error_of(config("a", {{"pretrained_model_name_or_path", "/nowhere"}})).find("/nowhere"), std::string::npos);
  EXPECT_NE(error_of(config("b", {{"resume_from_checkpoint", "checkpoint-7"}})).find("checkpoint-7"), std::string::npos);
  EXPECT_NE(error_of(config("c", {{"prompt_embed_path", "/nowhere.pt"}})).find("do not exist"), std::string::npos);
  EXPECT_NE(error_of(config("d", {{"trainable_modules", "[nothing]"}})).find("trainable_modules"), std::string::npos);
}

TEST_F(MvDiffusionTraining, OnlyChosenModulesAreTrained) {
  ASSERT_EQ(run(config("attention", {{"trainable_modules", "[attn1]"}, {"max_train_steps", "2"}, {"use_ema", "false"}})), kExitOk);
  const auto start = lines("attention", "start").back();
  EXPECT_LT(start["trainable"].get<std::int64_t>(), start["parameters"].get<std::int64_t>());
  EXPECT_GT(start["trainable"].get<std::int64_t>(), 0);
}

TEST_F(MvDiffusionTraining, KeepsAsManyCheckpointsAsAllowed) {
  ASSERT_EQ(run(config("kept", {{"checkpointing_steps", "1"}, {"checkpoints_total_limit", "2"}})), kExitOk);
  EXPECT_EQ(list_checkpoints(root / "kept").size(), 2u);
  EXPECT_EQ(list_checkpoints(root / "kept").back().step, 4);
  EXPECT_EQ(lines("kept", "checkpoint").size(), 5u);   // four, and the pipeline
  EXPECT_EQ(lines("kept", "checkpoint")[0]["verified"], "no");
}

TEST_F(MvDiffusionTraining, VerifiedCheckpointsAreReadBack) {
  ASSERT_EQ(run(config("verified", {{"checkpointing_steps", "4"}}), {.verify_checkpoints = true}), kExitOk);
  const auto saved = lines("verified", "checkpoint");
  ASSERT_EQ(saved.size(), 2u);
  for (const auto& j : saved) EXPECT_EQ(j["verified"], "yes");
  // A run that stands at its end without a pipeline still leaves one.
  fs::remove_all(root / "verified" / "pipeckpts");
  ASSERT_EQ(run(config("verified")), kExitOk);
  EXPECT_TRUE(fs::exists(root / "verified" / "pipeckpts" / "unet" / "config.json"));
}

class MvDiffusionValidated : public MvDiffusionTraining {   // of a size that SSIM has windows for
 protected:
  MvDiffusionValidated() : MvDiffusionTraining(16, 4) {}
};

// A file stands where a validation's pictures should go: the step's checkpoint is written although it was not due, and the run
// ends with the cause. What was learnt goes on.
TEST_F(MvDiffusionValidated, AFailedValidationCostsNothingThatWasLearnt) {
  const std::vector<ConfigOverride> validated = {{"validation_dataset.path", (root / "objects.h5").string()}, {"validation_steps", "2"},
                                                 {"checkpointing_steps", "4"},     {"mfl.val_samples", "2"},
                                                 {"mfl.keep_best", "none"},        {"pipe_validation_kwargs.num_inference_steps", "2"}};
  ASSERT_EQ(run(config("straight", validated)), kExitOk);
  // The plan knows the validation too.
  const MemoryPlan p = plan_training(config("straight", validated));
  const double planned = double(p.state_peak + p.step_peak), measured = lines("straight", "step").back()["memory_bytes"].get<double>();
  EXPECT_GT(p.validation_bytes, 0u);
  EXPECT_NEAR(measured, planned, 0.01 * planned);
  std::vector<std::string> names;
  for (const auto& e : fs::directory_iterator(root / "straight" / "val" / "global_step_0002"))
    if (e.is_directory()) names.push_back(e.path().filename().string());
  std::sort(names.begin(), names.end());
  ASSERT_EQ(names.size(), 2u);
  auto blocked = [&](const char* name, int step) {   // the second object's, whom the second of two ranks draws
    const fs::path folder = root / name / "val" / ("global_step_000" + std::to_string(step));
    fs::create_directories(folder);
    std::ofstream(folder / names[1]) << "x";
    return folder / names[1];
  };
  for (const int ranks : {1, 2}) {
    const std::string name = "blocked" + std::to_string(ranks);
    auto split = validated;
    if (ranks == 2) split.push_back({"train_batch_size", "1"});
    const fs::path obstacle = blocked(name.c_str(), 2);
    if (ranks == 1) EXPECT_NE(error_of(config(name, split)).find(names[1]), std::string::npos);
    else EXPECT_EQ(run_ranks(config(name, split), 2), kExitData);
    ASSERT_EQ(lines(name, "validation_failed").size(), 1u);
    EXPECT_EQ(lines(name, "validation_failed")[0]["pass"], 2);
    ASSERT_EQ(list_checkpoints(root / name).size(), 1u);
    EXPECT_EQ(list_checkpoints(root / name)[0].step, 2);
    fs::remove(obstacle);
    ASSERT_EQ(ranks == 1 ? run(config(name, split)) : run_ranks(config(name, split), 2), kExitOk);
    EXPECT_EQ(list_checkpoints(root / name).back().step, 4);
  }
  EXPECT_EQ(state("straight", 4), state("blocked1", 4));
  blocked("last", 4);
  EXPECT_NE(error_of(config("last", validated)).find(names[1]), std::string::npos);
  EXPECT_EQ(state("straight", 4), state("last", 4));
  EXPECT_TRUE(fs::exists(root / "last" / "pipeckpts" / "model_index.json"));
}

TEST_F(MvDiffusionTraining, ThePlanIsTheRunsPeak) {
  for (const char* recompute : {"none", "block"}) {
    const TrainConfig c = config(recompute, {{"mfl.recompute", recompute}, {"max_train_steps", "2"}, {"mfl.cache.memory_gb", "0"}});
    ASSERT_EQ(run(c), kExitOk);
    const MemoryPlan p = plan_training(c);
    const double planned = double(p.state_peak + p.step_peak), measured = lines(recompute, "step").back()["memory_bytes"].get<double>();
    EXPECT_NEAR(measured, planned, 0.01 * planned);
  }
}

}  // namespace
}  // namespace mfl::mvdiffusion
