// The typed configuration of an MVDiffusion run: the schema of FaceLift's train_diffusion.py plus our section `mfl`. The only
// home of its defaults. Members have the YAML's names and nesting; "required": must be in the file.
//
// A step is an update: gradient_accumulation_steps micro-batches of train_batch_size objects a rank.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "models/mvdiffusion/prompts.h"
#include "models/mvdiffusion/unet_spec.h"
#include "runtime/dtype.h"
#include "train/config_override.h"
#include "train/fault_keys.h"

namespace mfl::mvdiffusion {

// What lives in host memory and crosses the bus once an update: nothing; moments and moving average.
enum class Offload : std::uint8_t { none, moments };

struct TrainConfig {
  int n_views = 0;                                // required; views of an object, and slots of the network
  int img_wh = 0;                                 // required; side of the images
  std::string reference_view_idx = "0";           // an index; random: views rotate with the reference; ring (ours): ReferenceRule
  std::string dataset_type;                       // mouse: reference_view_idx, augmentation and prompt_embed_path are read
  std::string prompt_embed_path;                  // empty: the published file
  std::string pretrained_model_name_or_path;      // required; a pipeline folder
  std::string pretrained_unet_path;               // the UNet comes from here instead
  struct TrainSet {
    std::string path;                             // required; list file or packed .h5, see packed_path()
    std::string bg_color = "white";               // white, black, gray, random, three_choices or a number in [0, 1]
    bool augmentation = false;
    std::array<double, 2> aug_brightness{0.9, 1.1}, aug_contrast{0.9, 1.1};
    bool operator==(const TrainSet&) const = default;
  } train_dataset;
  struct ValSet {
    std::string path;                             // empty: no validation
    std::string bg_color = "white";
    bool operator==(const ValSet&) const = default;
  } validation_dataset;
  std::string checkpoint_prefix, output_dir, val_out_dir;
  std::uint32_t seed = 42;
  int train_batch_size = 0;                       // required; objects a rank and micro-batch
  int validation_batch_size = 2;                  // objects sampled at once
  std::int64_t max_train_steps = 0;               // this or num_train_epochs is required
  std::int64_t num_train_epochs = 0;              // read where max_train_steps is 0
  int gradient_accumulation_steps = 1;
  bool gradient_checkpointing = true;             // recompute; mfl.recompute overrides
  double learning_rate = 0;                       // required
  std::string step_rules = "1";                   // "m1:s1,m2:s2,m3": piecewise_constant's multipliers and the counts that end them
  bool scale_lr = false;                          // times accumulation x batch x ranks
  std::string lr_scheduler = "piecewise_constant";   // or constant, constant_with_warmup, linear, cosine
  std::int64_t lr_warmup_steps = 0;               // not read by piecewise_constant and constant
  std::optional<double> snr_gamma;                // min(SNR, gamma) / SNR weights; null: plain MSE
  bool use_ema = true;
  int dataloader_num_workers = 4;
  double adam_beta1 = 0.9, adam_beta2 = 0.999, adam_weight_decay = 1e-2, adam_epsilon = 1e-8;
  std::optional<double> max_grad_norm;            // null: no clipping
  std::string logging_dir = "logs";               // below the run's folder: log.jsonl, event files
  std::string mixed_precision = "no";             // fp16 and bf16: bf16 compute; no: f32
  std::string report_to;                          // these four name the run in the log
  std::string tracker_project_name, wandb_exp_name, wandb_group, wandb_job_type;
  std::int64_t checkpointing_steps = 0;           // required
  std::optional<std::int64_t> checkpoints_total_limit;
  std::optional<std::string> resume_from_checkpoint;   // null: no; latest; or a checkpoint folder
  std::int64_t validation_steps = 0;              // 0: never
  bool validation_sanity_check = false;           // validates after step 1 too
  std::vector<std::string> trainable_modules;     // endings of module names; empty: everything is trained
  bool use_classifier_free_guidance = true;       // false: nothing is dropped
  double condition_drop_rate = 0.05;
  std::string drop_type = "drop_as_a_whole";
  double camera_embedding_lr_mult = 1;            // of class_embedding
  bool scale_input_latents = true;                // must be true: sampling always does
  struct PipeKwargs {
    int num_views = 6;
    bool operator==(const PipeKwargs&) const = default;
  } pipe_kwargs;
  std::vector<double> validation_guidance_scales{1, 3};
  struct PipeValidationKwargs {
    double eta = 0;                               // as the published pipeline has it
    int num_inference_steps = 20;
    bool operator==(const PipeValidationKwargs&) const = default;
  } pipe_validation_kwargs;
  struct UnetKwargs {
    int num_views = 6, sample_size = 64;
    bool zero_init_conv_in = true;                // must be true; here only of channels that the source lacks
    bool multiview_attention = true, sparse_mv_attention = true;
    bool cd_attention_last = false, cd_attention_mid = false, addition_downsample = false;   // must be false
    std::string selfattn_block = "custom";
    bool operator==(const UnetKwargs&) const = default;
  } unet_from_pretrained_kwargs;

  // Our own section.
  struct Mfl {
    std::string device = "auto";                  // auto, cpu, cuda, cuda:N
    std::string compute = "auto";                 // auto (by mixed_precision), bf16, f32
    std::string recompute = "auto";               // auto (by gradient_checkpointing), none, block
    std::string offload = "none";                 // to host memory: none, moments (and the moving average)
    std::string keep_best = "psnr";               // validation metric, at the first guidance scale where it names none; none
    std::string on_checkpoint_failure = "stop";   // a checkpoint that cannot be written: stop, continue without it
    std::string log_dir;                          // empty: logging_dir
    int overfit = 0;                              // > 0: train and validate on the first N objects, without augmentation
    int max_skipped = 100;                        // end after so many updates in a row that were not applied
    int print_every = 20;                         // steps between progress lines
    int val_samples = 8;                          // objects of a validation; 0: all
    double bucket_mb = 64;                        // gradient bucket of the data-parallel reduction
    bool shard_optimizer = false;                 // every rank holds its share of the moments and the moving average; the same bits
    double stall_seconds = 600;                   // no progress for so long ends the run; 0: no watch
    double peak_tflops = 0;                       // what MFU is a share of; 0: by device name
    bool allow_unsound_data = false;
    FaultKeys faults;                             // divergence, rollback, slow ranks
    struct Data {
      std::string train, val;                     // packed .h5 files that stand in for the two paths
      bool operator==(const Data&) const = default;
    } data;
    struct Cache {                                // of the frozen encoders' results
      std::string folder;                         // empty: memory only
      double memory_gb = 4;
      int chunk = 8;                              // images encoded at once
      bool operator==(const Cache&) const = default;
    } cache;
    struct Weights {                              // LPIPS of validation: a file, or "formula"
      std::string vgg16, lpips;
      bool operator==(const Weights&) const = default;
    } weights;
    bool operator==(const Mfl&) const = default;
  } mfl;
  bool operator==(const TrainConfig&) const = default;

  DType compute() const;                                   // bf16 or f32
  bool recompute() const;
  Offload offload() const;
  ReferenceRule reference_rule() const;
  int reference_view() const;                              // where the rule is fixed
  ViewMode view_mode() const;
  std::filesystem::path model_dir() const;                 // checkpoint_prefix / output_dir: checkpoints and pipeckpts
  std::filesystem::path log_dir() const;
  std::filesystem::path prompts() const;
  std::string train_data() const;                          // the packed files to read
  std::string val_data() const;                            // empty: none
  double drop_rate() const { return use_classifier_free_guidance ? condition_drop_rate : 0; }
  bool augments() const { return dataset_type == "mouse" && train_dataset.augmentation && mfl.overfit == 0; }
};

// "1:200000,0.5": multipliers with the count that ends each; the last holds from there on. Throws ConfigError.
struct StepRule {
  double multiplier = 1;
  std::int64_t below = 0;                                  // of the last one: no bound, and not read
};
std::vector<StepRule> parse_step_rules(const std::string&);

// Learning rate of the update behind `step` updates, without the groups' factors.          get_scheduler of diffusers
// accelerate counts one a rank and update, against `ranks` x (warm-up, max_train_steps): the rate of an update does not depend on the
// number of ranks, but for the rules of piecewise_constant, which are compared with its `count` as they stand.
double learning_rate(const TrainConfig&, std::int64_t step, std::int64_t count, int ranks);

struct LoadedTrainConfig {
  TrainConfig config;
  std::vector<std::string> notes;                          // for the log: dead keys, fp16 read as bf16, ...
};
// Whether the bytes of a configuration file are of this stage. Throws ConfigError where they are no YAML mapping.
bool is_train_config(const std::string& yaml, const std::string& name);
// Throw ConfigError with file and line, as load_gslrm_config.
LoadedTrainConfig load_train_config(const std::string& path, const std::vector<ConfigOverride>& = {});
LoadedTrainConfig parse_train_config(const std::string& yaml, const std::string& name, const std::vector<ConfigOverride>& = {});
// Every key, in the file's schema; parses to an equal TrainConfig.
std::string write_merged(const TrainConfig&);

}  // namespace mfl::mvdiffusion
