// The typed configuration of a GS-LRM run: FaceLift's YAML schema plus our section `mfl`. The only home of defaults.
//
// Every key of a file is read, or is one of the published code's known dead keys (named once, in a note), or is an
// error that names the nearest known key with file and line. Members have the YAML's names and nesting; a member whose
// comment says "required" must be in the file.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/gslrm/config.h"
#include "runtime/dtype.h"
#include "train/config_override.h"
#include "train/fault_keys.h"

namespace mfl {

struct TrainingConfig {
  std::optional<int> crop_size;  // side of a random square crop of the targets; absent: the whole image
  struct Runtime {
    bool use_tf32 = false;                // required
    bool use_amp = false;                 // required; false: f32 compute
    std::string amp_dtype;                // required; bf16 (fp16 is read as bf16, with a note)
    int grad_accum_steps = 1;             // required; micro-batches an update
    double grad_clip_norm = 0;            // required; L2 clip; no clipping if <= 0
    int grad_checkpoint_every = 1;        // required; the published segment length; mfl.recompute decides here
    double allowed_gradnorm_factor = 20;  // an update whose norm exceeds factor * clip is skipped
    bool operator==(const Runtime&) const = default;
  } runtime;
  struct Dataset {
    std::string dataset_path;  // required; list file or packed .h5, see packed_path()
    bool maximize_view_overlap = false;
    int num_views = 0;             // required; views of a sample = target views
    int num_input_views = 0;       // required; the first of them are the input
    bool target_has_input = true;  // required; the targets always include the inputs, as published
    bool remove_alpha = false;
    std::string background_color = "white";  // white, black, gray, random, three_choices or a number in [0, 1]
    bool operator==(const Dataset&) const = default;
  } dataset;
  struct DataLoader {
    int batch_size_per_gpu = 0;  // required
    int num_workers = 0;         // required
    int prefetch_factor = 0;     // required; batches ahead, per worker
    int batches_ahead() const { return std::clamp(prefetch_factor, 2, 4); }   // of all workers, in pinned memory
    bool operator==(const DataLoader&) const = default;
  } dataloader;
  gslrm::LossConfig losses;  // the six published weights are required
  struct Optimizer {
    double lr = 0, beta1 = 0, beta2 = 0, weight_decay = 0;  // required
    bool reset_lr = false;              // required; continuing another run's checkpoint: a schedule of its own, from there on
    bool reset_weight_decay = false;    // required; the configuration's weight decay holds in any case
    bool reset_training_state = false;  // resume_ckpt initialises the weights only
    bool operator==(const Optimizer&) const = default;
  } optimizer;
  struct Schedule {
    std::int64_t num_epochs = 0;                      // required
    std::int64_t max_fwdbwd_passes = 10'000'000'000;  // exact
    std::int64_t warmup = 0;                          // required; parameter updates
    std::int64_t l2_warmup_steps = 0;                 // LPIPS and perceptual weights are 0 below this step
    std::int64_t early_stop_after_epochs = 10'000'000'000;
    std::int64_t early_stop_after = 10'000'000'000;
    bool operator==(const Schedule&) const = default;
  } schedule;
  struct Checkpointing {
    std::string checkpoint_dir;         // required; also where a run resumes from
    std::int64_t checkpoint_every = 0;  // required; forward/backward passes
    std::string resume_ckpt;            // file or directory; initialises or resumes, see optimizer.reset_training_state
    bool force_resume_ckpt = false;     // resume_ckpt even if checkpoint_dir holds checkpoints
    std::optional<int> checkpoints_total_limit;
    bool operator==(const Checkpointing&) const = default;
  } checkpointing;
  struct Logging {
    std::int64_t print_every = 0, vis_every = 0;  // required; forward/backward passes; vis_every 0: no pictures
    struct Wandb {
      std::string project, exp_name, group, job_type;  // required; they name the run in the event files and the run log
      std::int64_t log_every = 0;                      // required; cadence of event files and JSON lines
      bool offline = false;                            // required
      bool operator==(const Wandb&) const = default;
    } wandb;
    bool operator==(const Logging&) const = default;
  } logging;
  struct FreezeLayers {
    bool enabled = false;
    int freeze_transformer_until = 20;          // blocks with a smaller index
    bool freeze_patch_embedder = true;          // and input_layer_norm
    bool freeze_positional_embeddings = false;  // names that contain "position_embeddings"
    bool operator==(const FreezeLayers&) const = default;
  } freeze_layers;
  bool operator==(const TrainingConfig&) const = default;
};

struct InferenceConfig {
  bool enabled = false;    // required
  std::string output_dir;  // required if enabled
  bool operator==(const InferenceConfig&) const = default;
};

struct ValidationConfig {
  bool enabled = false;        // required
  std::int64_t val_every = 0;  // these three: required if enabled
  std::string output_dir, dataset_path;
  bool operator==(const ValidationConfig&) const = default;
};

struct MouseConfig {
  bool use_mouse_dataset = false;  // fixed view order and camera normalisation, as train_mouse.py always does
  bool normalize_cameras = true, normalize_to_z_up = true;
  double target_camera_distance = 2.7;  // > 0: world scale so that the cameras are at this mean distance
  bool auto_generate_mask = true;       // alpha from near-white pixels for images without alpha
  double mask_threshold = 250;          // 0 to 255
  struct Augmentation {
    bool enabled = false, horizontal_flip = false;
    double rotation_range = 0;  // degrees
    std::array<double, 2> brightness_range{1, 1}, contrast_range{1, 1};
    bool operator==(const Augmentation&) const = default;
  } augmentation;
  bool operator==(const MouseConfig&) const = default;
};

// Our own section.
struct MflConfig {
  std::uint32_t seed = 777;
  std::string device = "auto";     // auto (CUDA if there is a GPU), cpu, cuda, cuda:N
  std::string compute = "auto";    // auto (from training.runtime), bf16, f32
  std::string recompute = "auto";  // auto (none if it fits the memory), none, block
  std::string init;                // checkpoint whose weights start a new run at step 0
  std::string resume = "auto";     // auto (newest in checkpoint_dir, then resume_ckpt), never, or a file or directory
  std::vector<std::string> allow_missing;  // name prefixes that a checkpoint may lack
  int overfit = 0;                         // > 0: train and validate on the first N samples, without augmentation
  std::string lr_schedule = "cosine";      // cosine, linear, constant
  std::int64_t lr_updates = 0;             // length of the schedule in updates; 0: the published rule (whole epochs)
  double bucket_mb = 64;                   // gradient bucket of the data-parallel reduction
  bool shard_optimizer = false;            // every rank holds its share of the moments; the same bits
  int max_skipped = 100;                   // stop after this many consecutive updates that were not applied
  double stall_seconds = 600;              // no progress for so long ends the run on all ranks; 0: no watch
  std::string keep_best = "psnr";          // validation metric whose best checkpoint is never deleted; none
  std::string on_checkpoint_failure = "stop";   // a checkpoint that cannot be written: stop, continue without it
  std::string log_dir;                     // event files, JSON lines, merged configuration; empty: checkpoint_dir
  double peak_tflops = 0;                  // what MFU is a share of; 0: by device name
  int val_samples = 0;                     // samples of a validation; 0: all
  FaultKeys faults;                        // divergence, rollback, slow ranks: fault_keys.h
  bool allow_unsound_data = false;         // train although the doctor's quick check finds the data unsound
  struct Data {
    std::string train, val;  // packed .h5 files that stand in for the two dataset_path keys
    bool operator==(const Data&) const = default;
  } data;
  struct Weights {  // loss networks: a file, or "formula" for reproducible random weights
    std::string vgg19, vgg16, lpips;
    bool operator==(const Weights&) const = default;
  } weights;
  struct Render {
    int turntable_views = 8, turntable_size = 384;  // the strip of the visuals
    int video_views = 150, video_fps = 30;          // the video of a validation
    int video_size = 0;                             // its side; 0: of the input images
    double elevation = 0;                           // of both turntables, degrees above the equator
    double hfov = 50;                               // of both turntables, degrees
    bool video = true;
    bool viewer = true;                             // viewer.html of a validation
    bool operator==(const Render&) const = default;
  } render;
  bool operator==(const MflConfig&) const = default;
};

struct GslrmConfig {
  bool evaluation = false;
  std::string evaluation_out_dir;  // required if evaluation
  gslrm::ModelConfig model;
  TrainingConfig training;
  InferenceConfig inference;
  ValidationConfig validation;
  MouseConfig mouse;
  MflConfig mfl;
  bool operator==(const GslrmConfig&) const = default;

  // bf16 or f32: mfl.compute, and for auto bf16 where training.runtime.use_amp is set.
  DType compute() const;
  // The packed files to read.
  std::string train_data() const;
  std::string val_data() const;
  std::string log_dir() const { return mfl.log_dir.empty() ? training.checkpointing.checkpoint_dir : mfl.log_dir; }
};

struct LoadedConfig {
  GslrmConfig config;
  std::vector<std::string> notes;  // for the log: dead keys, fp16 read as bf16, duplicate keys, ...
};

// Throws ConfigError, with file and line: no such file, not YAML, unknown key, wrong type, missing key, a value out of
// its range, or the configuration of another program (MVDiffusion).
LoadedConfig load_gslrm_config(const std::string& path, const std::vector<ConfigOverride>& = {});
LoadedConfig parse_gslrm_config(const std::string& yaml, const std::string& name,
                                const std::vector<ConfigOverride>& = {});

// The merged configuration as YAML: every key, in the file's schema; parses to an equal GslrmConfig, and Python reads
// it.
std::string write_merged(const GslrmConfig&);

// Dotted names of every key that is read, in schema order.
std::vector<std::string> known_gslrm_keys();

}  // namespace mfl
