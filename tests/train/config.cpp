#include "train/config.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "runtime/rng.h"

namespace mfl {
namespace {
namespace fs = std::filesystem;

const char* const kSmallest = R"(model:
  class_name: gslrm.model.gslrm.GSLRM
  image_tokenizer: {image_size: 64, patch_size: 8, in_channels: 9}
  transformer: {d: 64, d_head: 32, n_layer: 2}
  gaussians: {n_gaussians: 2, sh_degree: 0, upsampler: {upsample_factor: 1}}
  hard_pixelalign: true
training:
  runtime: {use_tf32: true, use_amp: true, amp_dtype: "bf16", grad_accum_steps: 1, grad_clip_norm: 1.0, grad_checkpoint_every: 1}
  dataset: {dataset_path: data/list.txt, num_views: 6, num_input_views: 4, target_has_input: true}
  dataloader: {batch_size_per_gpu: 2, num_workers: 4, prefetch_factor: 2}
  losses: {l2_loss_weight: 1.0, lpips_loss_weight: 0, perceptual_loss_weight: 0, ssim_loss_weight: 0,
           pixelalign_loss_weight: 0, pointsdist_loss_weight: 0}
  optimizer: {lr: 5e-6, beta1: 0.9, beta2: 0.95, weight_decay: 0.05, reset_lr: false, reset_weight_decay: false}
  schedule: {num_epochs: 10, warmup: 2}
  checkpointing: {checkpoint_dir: out, checkpoint_every: 10}
  logging:
    print_every: 1
    vis_every: 5
    wandb: {project: p, exp_name: e, group: g, job_type: j, log_every: 1, offline: true}
inference: {enabled: false}
validation: {enabled: false}
)";

GslrmConfig parse(const std::string& yaml, const std::vector<ConfigOverride>& overrides = {}) {
  return parse_gslrm_config(yaml, "run.yaml", overrides).config;
}
std::string replaced(std::string s, const std::string& from, const std::string& to) {
  const std::size_t at = s.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return s.replace(at, from.size(), to);
}
std::string error_of(const std::string& yaml, const std::vector<ConfigOverride>& overrides = {}) {
  try {
    parse(yaml, overrides);
  } catch (const ConfigError& e) {
    return e.what();
  }
  return "no error";
}
void expect_says(const std::string& message, const std::string& part) {
  EXPECT_NE(message.find(part), std::string::npos) << "message: " << message << "\nlacks: " << part;
}

TEST(Config, DefaultsAreThePublishedOnes) {
  const GslrmConfig c = parse(kSmallest);
  EXPECT_EQ(c.training.runtime.allowed_gradnorm_factor, 20);
  EXPECT_EQ(c.training.schedule.max_fwdbwd_passes, 10'000'000'000);
  EXPECT_EQ(c.training.freeze_layers.freeze_transformer_until, 20);
  EXPECT_TRUE(c.training.freeze_layers.freeze_patch_embedder);
  EXPECT_TRUE(c.training.losses.clamp_rendering);
  EXPECT_EQ(c.training.losses.mask_iou_threshold, 0.1);
  EXPECT_EQ(c.training.dataset.background_color, "white");
  EXPECT_EQ(c.model.depth_min, -1);
  EXPECT_FALSE(c.model.half_bbx_size.has_value());
  EXPECT_EQ(c.mouse.target_camera_distance, 2.7);
  EXPECT_EQ(c.training.optimizer.lr, 5e-6);
  EXPECT_EQ(c.compute(), DType::bf16);
  EXPECT_EQ(c.train_data(), "data/list.h5");
  EXPECT_EQ(packed_path("a.b/set.h5#train"), "a.b/set.h5#train");
  EXPECT_EQ(packed_path(""), "");
}

TEST(Config, AMistypedKeyNamesTheNearestRealOneAndItsLine) {
  const std::string e = error_of(replaced(kSmallest, "    vis_every: 5", "    vis_evry: 5"));
  expect_says(e, "run.yaml:18: training.logging.vis_evry");
  expect_says(e, "training.logging.vis_every");
}

TEST(Config, AKeyInTheWrongSectionNamesTheRightPlace) {
  expect_says(error_of(kSmallest, {{"model.n_layer", "3"}}), "model.transformer.n_layer");
  expect_says(error_of(kSmallest, {{"training.max_fwdbwd_passes", "3"}}), "training.schedule.max_fwdbwd_passes");
}

TEST(Config, AWrongTypeNamesKeyValueTypeAndLine) {
  const std::string e = error_of(replaced(kSmallest, "    print_every: 1", "    print_every: often"));
  expect_says(e, "run.yaml:17: training.logging.print_every must be an integer, not \"often\"");
  expect_says(error_of(kSmallest, {{"training.optimizer.lr", "fast"}}), "--set training.optimizer.lr");
  expect_says(error_of(replaced(kSmallest, "n_layer: 2", "n_layer: \"2\"")), "must be an integer");
  expect_says(error_of(replaced(kSmallest, "n_layer: 2", "n_layer: 2.0")), "must be an integer");
  expect_says(error_of(replaced(kSmallest, "hard_pixelalign: true", "hard_pixelalign: 1")), "true or false");
  expect_says(error_of(replaced(kSmallest, "lr: 5e-6", "lr: .nan")), "finite number");
}

TEST(Config, ASectionAndAValueAreNotMixedUp) {
  expect_says(error_of(replaced(kSmallest, "n_layer: 2", "n_layer: {x: 2}")), "takes a value, not a section");
  expect_says(error_of(kSmallest, {{"training.losses", "3"}}), "is a section");
}

TEST(Config, MissingRequiredKeysAreListedTogether) {
  const std::string e = error_of(replaced(replaced(kSmallest, "beta1: 0.9, ", ""), "warmup: 2", "l2_warmup_steps: 2"));
  expect_says(e, "training.optimizer.beta1");
  expect_says(e, "training.schedule.warmup");
}

TEST(Config, ValidationNeedsItsKeysOnlyWhenEnabled) {
  expect_says(error_of(kSmallest, {{"validation.enabled", "true"}}), "validation.val_every is missing");
}

TEST(Config, ValuesOutOfRangeAreRefused) {
  expect_says(error_of(kSmallest, {{"model.transformer.d", "65"}}), "multiple of d_head");
  expect_says(error_of(kSmallest, {{"model.image_tokenizer.in_channels", "12"}}), "must be 9");
  expect_says(error_of(kSmallest, {{"training.dataset.num_views", "3"}}), "num_input_views");
  expect_says(error_of(kSmallest, {{"training.dataset.background_color", "pink"}}), "three_choices");
  expect_says(error_of(kSmallest, {{"training.losses.l2_loss_weight", "0"}}), "nothing to train");
  expect_says(error_of(kSmallest, {{"model.class_name", "gslrm.model.other.Net"}}), "gslrm.model.gslrm.GSLRM");
  expect_says(error_of(kSmallest, {{"mfl.compute", "fp16"}}), "auto, bf16, f32");
  expect_says(error_of(kSmallest, {{"mfl.keep_best", "pnsr"}}), "psnr_held_out");
  expect_says(error_of(kSmallest, {{"model.depth_min", "4"}, {"model.depth_max", "3"}}), "above depth_min (4)");
  expect_says(error_of(kSmallest, {{"mouse.augmentation.contrast_range", "[2, 1]"}}), "[low, high]");
  expect_says(error_of(replaced(kSmallest, "data/list.txt", "''")), "must name a list or a packed file");
}

TEST(Config, OverridesAreTypedByTheirLooks) {
  const GslrmConfig c = parse(kSmallest, {{"training.optimizer.lr", "0.25"},
                                          {"training.schedule.max_fwdbwd_passes", "7"},
                                          {"mouse.augmentation.enabled", "true"},
                                          {"mfl.weights.vgg19", "a b.mat"},
                                          {"mfl.allow_missing", "[loss_calculator, view]"},
                                          {"training.losses.background_color_target", "[0, 0.5, 1]"}});
  EXPECT_EQ(c.training.optimizer.lr, 0.25);
  EXPECT_EQ(c.training.schedule.max_fwdbwd_passes, 7);
  EXPECT_TRUE(c.mouse.augmentation.enabled);
  EXPECT_EQ(c.mfl.weights.vgg19, "a b.mat");
  EXPECT_EQ(c.mfl.allow_missing, (std::vector<std::string>{"loss_calculator", "view"}));
  EXPECT_EQ(c.training.losses.background_color_target, (std::array<double, 3>{0, 0.5, 1}));
  EXPECT_EQ(parse_override("a.b=c=d").value, "c=d");
  EXPECT_THROW(parse_override("a.b"), ConfigError);
}

TEST(Config, Fp16IsReadAsBf16WithANote) {
  const LoadedConfig l = parse_gslrm_config(replaced(kSmallest, "\"bf16\"", "\"fp16\""), "run.yaml");
  EXPECT_EQ(l.config.training.runtime.amp_dtype, "bf16");
  EXPECT_EQ(l.config.compute(), DType::bf16);
  ASSERT_EQ(l.notes.size(), 1u);
  expect_says(l.notes[0], "run.yaml:8: fp16 is read as bf16");
}

TEST(Config, DeadKeysAreNamedOnceInOneNote) {
  const LoadedConfig l = parse_gslrm_config(text(kSmallest, "profile: false\ndebug: true\n"), "run.yaml");
  ASSERT_EQ(l.notes.size(), 1u);
  expect_says(l.notes[0], "profile, debug");
}

TEST(Config, TheLaterOfTwoEqualKeysHoldsWithANote) {
  const LoadedConfig l = parse_gslrm_config(text(kSmallest, "mfl:\n  seed: 1\n  seed: 2\n"), "run.yaml");
  EXPECT_EQ(l.config.mfl.seed, 2u);
  ASSERT_EQ(l.notes.size(), 1u);
  expect_says(l.notes[0], "run.yaml:24: mfl.seed is given twice");
}

TEST(Config, BrokenYamlNamesTheLine) {
  expect_says(error_of("model:\n  a: [1, 2\nb: 3\n"), "run.yaml:");
  expect_says(error_of("just words"), "expected a mapping");
  EXPECT_THROW(load_gslrm_config("/nonexistent/x.yaml"), ConfigError);
}

TEST(Config, AnAliasOfItselfIsRefused) { expect_says(error_of("a: &a\n  b: *a\n"), "nested too deeply"); }

// Whatever the bytes, the answer is a configuration or a ConfigError.
TEST(Config, DamagedFilesAreRefusedNotFatal) {
  const std::string good = kSmallest;
  constexpr std::string_view kOdd = "{}[]:,&*!|>'\"%@`#-? \n\t\xff";
  Rng rng(1, Draw::test);
  int refused = 0;
  for (int trial = 0; trial < 1000; ++trial) {
    std::string s = good;
    for (std::uint32_t damages = 1 + rng.below(3); damages > 0; --damages) {
      const std::size_t at = rng.below(static_cast<std::uint32_t>(s.size()));
      const char odd = kOdd[rng.below(kOdd.size())];
      switch (rng.below(3)) {
        case 0:
          s[at] = odd;
          break;
        case 1:
          s.erase(at, 1 + rng.below(20));
          break;
        case 2:
          s.insert(at, 1, odd);
          break;
      }
    }
    try {
      parse(s);
    } catch (const ConfigError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 300);
}

TEST(Config, TheMergedConfigurationParsesToTheSame) {
  GslrmConfig c = parse(kSmallest, {{"training.optimizer.lr", "0.1"},
                                    {"model.half_bbx_size", "0.7"},
                                    {"training.crop_size", "32"},
                                    {"training.checkpointing.checkpoints_total_limit", "3"},
                                    {"mfl.allow_missing", "[a, b]"},
                                    {"mfl.log_dir", "a \"b\" : #c"}});
  c.training.optimizer.weight_decay = 1.0 / 3;
  EXPECT_EQ(parse(write_merged(c)), c) << write_merged(c);
}

TEST(Config, AConfigurationOfMvDiffusionIsRefusedWithASentence) {
  expect_says(error_of("n_views: 6\npretrained_model_name_or_path: x\nseed: 42\n"), "MVDiffusion");
}

std::vector<fs::path> yaml_files(const fs::path& folder) {
  std::vector<fs::path> files;
  if (fs::is_directory(folder))
    for (const auto& f : fs::directory_iterator(folder))
      if (f.path().extension() == ".yaml") files.push_back(f.path());
  std::sort(files.begin(), files.end());
  return files;
}

TEST(Config, EveryFileOfTheCorpusIsRefused) {
  const auto files = yaml_files(fs::path(MFL_SOURCE_DIR) / "tests/fuzz/corpus/gslrm_config");
  EXPECT_GE(files.size(), 11u);
  for (const fs::path& f : files) EXPECT_THROW(load_gslrm_config(f.string()), ConfigError) << f;
}

TEST(Config, TheProjectsFilesParseWithoutSurprises) {
  const auto files = yaml_files(fs::path(MFL_SOURCE_DIR) / "configs");
  EXPECT_GE(files.size(), 7u);
  for (const fs::path& f : files) {
    if (f.filename().string().find("mvdiffusion") != std::string::npos) continue;   // tests/train/mvdiffusion/config.cpp
    const LoadedConfig l = load_gslrm_config(f.string());
    for (const std::string& note : l.notes) expect_says(note, "the published code never reads them");
    EXPECT_EQ(parse(write_merged(l.config)), l.config) << f;
  }
}

TEST(Config, TheFilesOfFaceLiftParseUnmodified) {
  const char* shared = std::getenv("MFL_SHARED_DATA");
  const fs::path folder =
      (shared ? fs::path(shared) : fs::path(MFL_SOURCE_DIR) / "../shared/data") / "facelift_configs";
  const auto files = yaml_files(folder);
  if (files.empty()) GTEST_SKIP() << "FaceLift's configurations are not at " << folder;
  int ours = 0, of_stage_one = 0;
  for (const fs::path& f : files) {
    if (f.filename().string().find("mvdiffusion") != std::string::npos) {
      try {
        load_gslrm_config(f.string());
        ADD_FAILURE() << f << " was taken for a GS-LRM configuration";
      } catch (const ConfigError& e) {
        expect_says(e.what(), "MVDiffusion");
      }
      ++of_stage_one;
      continue;
    }
    try {
      const GslrmConfig c = load_gslrm_config(f.string()).config;
      EXPECT_EQ(parse(write_merged(c)), c) << f;
      ++ours;
    } catch (const ConfigError& e) {
      ADD_FAILURE() << e.what();
    }
  }
  EXPECT_EQ(ours, 36);
  EXPECT_EQ(of_stage_one, 16);
}

}  // namespace
}  // namespace mfl
