// `ckpt_%016d.pt`: a GS-LRM run on disk, in the published layout, so that Python's trainer resumes ours and we resume
// Python's (train_gslrm.py, utils_train.py):
//
//   model                 OrderedDict: trainable tensors in registration order, then the loss networks' (LPIPS first), f32
//   optimizer             {state: {i: {step, exp_avg, exp_avg_sq}}, param_groups: [decayed, the rest]}: torch.optim.AdamW's
//   lr_scheduler          LambdaLR's state
//   fwdbwd_pass_step, param_update_step
//   mfl                   what we need beyond it: version, seed, recipe, data position, best metric, configuration
//
// Written in the background (background_save.h), to a temporary name, read back, renamed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/weights/coverage.h"
#include "runtime/io/value.h"
#include "train/background_save.h"
#include "train/gslrm_stage.h"

namespace mfl {

// Where a run stands.
struct RunState {
  std::int64_t passes = 0;           // fwdbwd_pass_step: forward/backward passes done
  std::int64_t updates = 0;          // param_update_step: updates that were applied
  std::int64_t schedule_updates = 0; // updates the schedule has counted, left-out ones included (lr_scheduler.last_epoch)
  std::optional<std::uint64_t> data_position;   // of the next sample (data/sampler.h); absent: a file that does not say, as Python's
  std::int64_t samples_an_update = 0;   // that it was made with; 0: not known
  std::int64_t schedule_start = 0;   // updates of the run before the schedule's first: above 0 after optimizer.reset_lr
  std::optional<double> best;        // of mfl.keep_best
  std::int64_t best_pass = -1;
};

class CheckpointWriter {
 public:
  // Takes host memory for one copy of the state at once (staging_bytes), so that no save does.
  // Removes what a killed run left half-written in the directory: nobody else may write there (runtime/io/sole_writer.h).
  CheckpointWriter(GslrmStage&, std::filesystem::path directory, SaveOptions);

  // Queues the copy, and the writing behind it; waits for the save before. `keep` > 0: afterwards at most that many ckpt_*.pt
  // of this and earlier passes remain, oldest first to go, the one of state.best_pass never. Later ones are another run's.
  void save(const RunState&, double learning_rate, const std::string& config_yaml, int keep);
  void before_update() { background_.before_update(); }   // call before parameters or moments change
  void poll() { background_.poll(); }
  void wait() { background_.wait(); }
  std::exception_ptr finish() { return background_.finish(); }

  // What the ranks without a writer have instead: its start() where the writer saves.
  static std::unique_ptr<StateSender> sender(const GslrmStage&);
  static std::uint64_t staging_bytes(const GslrmStage&);   // parameters, moments and loss networks, f32

 private:
  io::Value tree(const RunState&, double learning_rate, const std::string& config_yaml) const;

  GslrmStage& stage_;
  std::filesystem::path directory_;
  bool verify_;
  BackgroundSave background_;
};

// ckpt_%016d.pt of a directory, oldest first.
struct CheckpointFile {
  std::filesystem::path path;
  std::int64_t pass = 0;
};
std::vector<CheckpointFile> list_checkpoints(const std::filesystem::path& directory);
std::string checkpoint_name(std::int64_t pass);
// The newest checkpoint of a directory, or the file itself; empty if there is none.
std::filesystem::path newest_checkpoint(const std::filesystem::path&);

// Where a run of this configuration finds loss networks: its keys, then the checkpoint that it will start from, then
// those that it could have started from.
weights::LossNetworkSources network_sources(const GslrmConfig&);

// *Initialise*: weights only, from any file that io::open_model_weights reads (a checkpoint of ours or Python's, a bare state
// dict, a `module.` prefix, safetensors); loss-network
// tensors fill the networks that the run has. Throws DataError under full coverage of the model unless the missing names
// begin with one of `allow_missing`, and always for a wrong shape.
weights::Coverage load_weights(GslrmStage&, const std::filesystem::path&, const std::vector<std::string>& allow_missing);

// *Resume*: weights, moments, counters. Throws DataError when the optimizer state does not fit the trainable parameters.
struct Resumed {
  weights::Coverage coverage;
  RunState state;
  double learning_rate = 0;   // at the peak of the schedule that wrote the file; the configuration's holds
};
Resumed resume(GslrmStage&, const std::filesystem::path&, const std::vector<std::string>& allow_missing);

}  // namespace mfl
