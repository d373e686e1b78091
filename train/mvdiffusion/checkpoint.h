// A training run of MVDiffusion on disk, in the layout of accelerate 0.33 and diffusers 0.30 (train_diffusion.py), so that Python's
// trainer resumes ours and we resume Python's:
//
//   checkpoint-N/             N: update windows done (global_step), left-out updates included
//     unet/                   config.json, diffusion_pytorch_model.safetensors: the live weights, f32
//     unet_ema/               the same of the moving average; its config.json has seven fields more, the counter among them
//     optimizer.bin           torch.optim.AdamW: {state: {i: {step, exp_avg, exp_avg_sq}}, param_groups}, groups without members left out
//     scheduler.bin           LambdaLR; last_epoch counts processes, not updates
//     random_states_0.pkl, scaler.pt   only what accelerate needs to go on: random numbers here are a function of seed and step
//     mfl.json                what we need beyond it: version, counters, data position, best metric, configuration; bytes and CRC
//                             of the files (models/mvdiffusion/folder_info.h compares them)
//   pipeckpts/                a whole pipeline: the frozen components of the one that the run began with, and our unet
//
// Written in the background (train/background_save.h), under a temporary name, read back and compared, then renamed: a folder
// with the final name is whole.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "train/background_save.h"
#include "train/ema_weights.h"
#include "train/optimizer.h"

namespace mfl::mvdiffusion {

// What of a run its checkpoints hold. References: the stage owns them.
struct Trained {
  const Stream& stream;       // on which they change
  ParamStore& params;         // of the UNet
  Optimizer& optimizer;
  EmaWeights* ema = nullptr;  // null: use_ema is false
  std::string config;         // text of unet/config.json: UnetSpec::json
};

// Where a run stands.
struct RunState {
  std::int64_t step = 0;             // global_step; N of checkpoint-N
  std::int64_t updates = 0;          // of them applied: AdamW's step
  std::int64_t schedule_count = 0;   // lr_scheduler.last_epoch: one a process and step
  std::optional<std::uint64_t> data_position = {};   // of the next object (data/sampler.h); absent after resuming Python's
  std::int64_t objects_an_update = 0;   // that it was made with; 0: not known
  std::optional<double> best = {};   // of the validation metric that keeps a checkpoint
  std::int64_t best_step = -1;
};

class CheckpointWriter {
 public:
  // `directory` holds the checkpoint-N, and the pipeline of the end. Removes what a killed run left half-written there: nobody else
  // may write to it (runtime/io/sole_writer.h).
  CheckpointWriter(Trained, std::filesystem::path directory, SaveOptions);

  // Queues checkpoint-<state.step>. `learning_rate` is the next update's, `base_learning_rate` the schedule's; both without the
  // groups' factors. With `limit`, at most that many checkpoints of this and earlier steps remain afterwards, lowest step first
  // to go, the one of state.best_step never. Ones of later steps are another run's and stay.
  void save(const RunState&, double learning_rate, double base_learning_rate, const std::string& config_yaml,
            std::optional<std::int64_t> limit);
  // Queues <target>, a whole pipeline: the frozen components of `source` and the moving average as its unet (the live weights
  // where there is none). Reported like a checkpoint, with number = step.
  void save_pipeline(const std::filesystem::path& source, const std::filesystem::path& target, std::int64_t step);

  void before_update() { background_.before_update(); }   // before parameters, moments or the average change
  void poll() { background_.poll(); }
  void wait() { background_.wait(); }
  std::exception_ptr finish() { return background_.finish(); }

  // What the ranks without a writer have instead: its start() where the writer saves.
  static std::unique_ptr<StateSender> sender(const Trained&);
  static std::uint64_t staging_bytes(const Trained&);      // also about a checkpoint's bytes on disk

 private:
  std::vector<io::NamedStored> tensors(std::size_t buffer) const;

  Trained trained_;
  std::filesystem::path directory_;
  bool verify_;
  BackgroundSave background_;
};

// checkpoint-N of a directory, lowest step first.
struct CheckpointFolder {
  std::filesystem::path path;
  std::int64_t step = 0;
};
std::vector<CheckpointFolder> list_checkpoints(const std::filesystem::path& directory);

// What `resume_from_checkpoint` names: null nothing; "latest" the highest step of the directory that is whole, nothing if there is
// none; else that folder, or the one of that name in the directory. Throws ConfigError if it is neither.
std::filesystem::path checkpoint_to_resume(const std::filesystem::path& directory, const std::optional<std::string>& resume_from_checkpoint);

// Throws DataError unless the weights in a checkpoint of ours have the sizes and CRCs that were recorded when they were written: their
// format has no checksums of its own, the other files' has. Nothing is known of Python's. Reads the files; one rank is enough.
void check_files(const std::filesystem::path& checkpoint);

// *Resume*: weights, moments, average, counters, of a checkpoint of ours (then bitwise) or of Python's. Throws DataError, with the
// coverage table where names or shapes differ; nothing is taken before all of it was found to fit.
struct Resumed {
  RunState state;
  bool ours = false;     // written by this program: the data position and the best metric are known
  std::string table;     // what was taken, a line each
};
Resumed resume(const Trained&, const std::filesystem::path& checkpoint);

// Throws DataError where the target of CheckpointWriter::save_pipeline is its source: for the start of a run.
void check_pipeline_target(const std::filesystem::path& source, const std::filesystem::path& target);

}  // namespace mfl::mvdiffusion
