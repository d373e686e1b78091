#include "train/mvdiffusion/config.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "tests/support/shared_files.h"

namespace mfl::mvdiffusion {
namespace {
namespace fs = std::filesystem;

const char* const kSmallest = R"(n_views: 6
img_wh: 64
pretrained_model_name_or_path: pipeline
train_dataset:
  path: set.h5
output_dir: out
train_batch_size: 2
max_train_steps: 10
learning_rate: 1e-4
checkpointing_steps: 5
)";

TrainConfig parse(const std::string& yaml, const std::vector<ConfigOverride>& overrides = {}) {
  return parse_train_config(yaml, "run.yaml", overrides).config;
}
std::string error_of(const std::string& yaml, const std::vector<ConfigOverride>& overrides = {}) {
  try {
    parse(yaml, overrides);
  } catch (const ConfigError& e) {
    return e.what();
  }
  return "no error";
}
std::string content_of(const fs::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}
void expect_says(const std::string& message, const std::string& part) {
  EXPECT_NE(message.find(part), std::string::npos) << "message: " << message << "\nlacks: " << part;
}

TEST(MvDiffusionConfig, DefaultsAndWhatFollowsFromThem) {
  const TrainConfig c = parse(kSmallest);
  EXPECT_EQ(c.unet_from_pretrained_kwargs.num_views, 6);
  EXPECT_EQ(c.pipe_validation_kwargs.num_inference_steps, 20);
  EXPECT_EQ(c.pipe_validation_kwargs.eta, 0);
  EXPECT_EQ(c.adam_beta2, 0.999);
  EXPECT_EQ(c.compute(), DType::f32);
  EXPECT_TRUE(c.recompute());
  EXPECT_EQ(c.view_mode(), ViewMode::sparse);
  EXPECT_EQ(c.reference_rule(), ReferenceRule::fixed);
  EXPECT_EQ(c.prompts(), "mvdiffusion/data/fixed_prompt_embeds_6view/clr_embeds.pt");
  EXPECT_EQ(c.log_dir(), fs::path("out/logs"));
  EXPECT_FALSE(c.max_grad_norm.has_value());
  EXPECT_EQ(parse(kSmallest, {{"checkpoint_prefix", "a"}}).model_dir(), fs::path("a/out"));
  EXPECT_EQ(parse(kSmallest, {{"unet_from_pretrained_kwargs.sparse_mv_attention", "false"}}).view_mode(), ViewMode::dense);
  EXPECT_EQ(parse(kSmallest, {{"unet_from_pretrained_kwargs.multiview_attention", "false"}}).view_mode(), ViewMode::per_view);
  EXPECT_EQ(parse(kSmallest, {{"use_classifier_free_guidance", "false"}}).drop_rate(), 0);
}

TEST(MvDiffusionConfig, AMistypedKeyNamesTheNearestRealOneAndItsLine) {
  const std::string e = error_of(text(kSmallest, "gradient_acumulation_steps: 2\n"));
  expect_says(e, "run.yaml:11: gradient_acumulation_steps");
  expect_says(e, "gradient_accumulation_steps.");
  expect_says(error_of(kSmallest, {{"train_dataset.aug_brigthness", "[1, 1]"}}), "train_dataset.aug_brightness");
  expect_says(error_of("n_views: 6\n"), "required and missing: img_wh, pretrained_model_name_or_path, train_dataset.path");
}

TEST(MvDiffusionConfig, ValuesThatCannotBeAreRefused) {
  expect_says(error_of(kSmallest, {{"img_wh", "big"}}), "must be an integer");
  expect_says(error_of(kSmallest, {{"reference_view_idx", "2"}}), "dataset_type: mouse");
  expect_says(error_of(kSmallest, {{"reference_view_idx", "6"}, {"dataset_type", "mouse"}}), "0 to 5");
  expect_says(error_of(kSmallest, {{"unet_from_pretrained_kwargs.num_views", "4"}}), "must be n_views");
  expect_says(error_of(kSmallest, {{"drop_type", "drop_independent"}}), "drop_as_a_whole");
  expect_says(error_of(kSmallest, {{"condition_drop_rate", "0.4"}}), "1/3");
  expect_says(error_of(kSmallest, {{"use_8bit_adam", "true"}}), "moments are f32");
  expect_says(error_of(kSmallest, {{"step_rules", "1:10,2:5,1"}}), "2:5");
  expect_says(error_of(kSmallest, {{"step_rules", "1:10"}}), "1:10");
  expect_says(error_of(kSmallest, {{"lr_scheduler", "polynomial"}}), "piecewise_constant");
  expect_says(error_of(kSmallest, {{"scale_input_latents", "false"}}), "must be true");
  expect_says(error_of(kSmallest, {{"max_train_steps", "0"}}), "how many updates");
  expect_says(error_of(kSmallest, {{"mfl.keep_best", "pnsr"}}), "slot_order");
  EXPECT_EQ(parse(kSmallest, {{"mfl.keep_best", "lpips-guidance_scale-3.0"}}).mfl.keep_best, "lpips-guidance_scale-3.0");
}

TEST(MvDiffusionConfig, InterpolationTakesTheValueOfAnotherKey) {
  const TrainConfig c = parse(text(kSmallest, "pipe_kwargs: {num_views: '${n_views}'}\n"));
  EXPECT_EQ(c.pipe_kwargs.num_views, 6);
  expect_says(error_of(text(kSmallest, "pipe_kwargs: {num_views: '${views}'}\n")), "there is no key of that name");
  EXPECT_EQ(parse(text(kSmallest, "pipe_kwargs: {num_views: '${n_views}'}\n"), {{"n_views", "4"}}).pipe_kwargs.num_views, 4);
}

TEST(MvDiffusionConfig, StepRulesCountRanks) {
  TrainConfig c = parse(kSmallest, {{"step_rules", "1:100,0.5:200,0.25"}});
  EXPECT_EQ(learning_rate(c, 24, 99, 4), 1e-4);
  EXPECT_EQ(learning_rate(c, 25, 100, 4), 0.5e-4);
  EXPECT_EQ(learning_rate(c, 200, 200, 1), 0.25e-4);
  c.scale_lr = true;
  EXPECT_DOUBLE_EQ(learning_rate(c, 0, 0, 4), 8e-4);
  c = parse(kSmallest, {{"lr_scheduler", "cosine"}, {"lr_warmup_steps", "2"}});
  EXPECT_DOUBLE_EQ(learning_rate(c, 1, 1, 1), 0.5e-4);
  EXPECT_DOUBLE_EQ(learning_rate(c, 2, 2, 1), 1e-4);
  EXPECT_DOUBLE_EQ(learning_rate(c, 2, 6, 2), 1e-4);   // an update of four ranks and one of two
  EXPECT_NEAR(learning_rate(c, 10, 10, 1), 0, 1e-20);
}

TEST(MvDiffusionConfig, TheMergedConfigurationParsesToTheSame) {
  const TrainConfig c = parse(kSmallest, {{"snr_gamma", "5"}, {"max_grad_norm", "1"}, {"trainable_modules", "[attn1, attn2]"},
                                          {"resume_from_checkpoint", "latest"}, {"checkpoints_total_limit", "3"},
                                          {"validation_guidance_scales", "[1.5]"}, {"mfl.cache.folder", "a \"b\""}});
  EXPECT_EQ(parse(write_merged(c)), c) << write_merged(c);
  EXPECT_EQ(c.trainable_modules, (std::vector<std::string>{"attn1", "attn2"}));
  EXPECT_FALSE(parse(kSmallest, {{"resume_from_checkpoint", "null"}}).resume_from_checkpoint.has_value());
}

TEST(MvDiffusionConfig, TheFilesOfFaceLiftParseUnmodified) {
  const fs::path folder = mfl::test::shared_data_folder() / "facelift_configs";
  if (!fs::exists(folder)) GTEST_SKIP() << "FaceLift's configurations are not at " << folder;
  int files = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string path = entry.path().string(), yaml = content_of(entry.path());
    const bool ours = path.find("mvdiffusion") != std::string::npos;
    EXPECT_EQ(is_train_config(yaml, path), ours) << path;
    if (!ours) continue;
    const LoadedTrainConfig l = load_train_config(path);
    EXPECT_EQ(parse(write_merged(l.config)), l.config) << path;
    EXPECT_EQ(l.config.n_views, 6) << path;
    // Each dead key once, in one note.
    const auto dead = std::count_if(l.notes.begin(), l.notes.end(), [](const std::string& n) { return n.find("never reads") != std::string::npos; });
    EXPECT_EQ(dead, 1) << path;
    ++files;
  }
  EXPECT_EQ(files, 16);
}

TEST(MvDiffusionConfig, TheProjectsFilesHaveThePublishedValues) {
  const fs::path folder = mfl::test::shared_data_folder() / "facelift_configs";
  for (const char* name : {"mvdiffusion.yaml", "mouse_mvdiffusion.yaml"}) {
    const LoadedTrainConfig l = load_train_config((fs::path(MFL_SOURCE_DIR) / "configs" / name).string());
    EXPECT_TRUE(l.notes.empty()) << l.notes.front();
    EXPECT_EQ(parse(write_merged(l.config)), l.config) << name;
    if (!fs::exists(folder)) continue;
    TrainConfig published = load_train_config((folder / name).string()).config;
    published.pretrained_model_name_or_path = l.config.pretrained_model_name_or_path;   // a hub name
    published.resume_from_checkpoint = l.config.resume_from_checkpoint;
    EXPECT_EQ(write_merged(l.config), write_merged(published)) << name;
  }
}

}  // namespace
}  // namespace mfl::mvdiffusion
