// What a run says while it runs, whatever it trains: every update's outcome to the terminal, the log and the event file, the
// ledger with its alarm, validations, checkpoints.
#pragma once

#include <exception>
#include <filesystem>
#include <functional>
#include <string>

#include "kernels/optim/step_scalars.h"
#include "train/background_save.h"
#include "train/divergence.h"
#include "train/event_writer.h"
#include "train/fault_keys.h"
#include "train/ledger.h"
#include "train/progress.h"
#include "train/rank_times.h"
#include "train/return_points.h"
#include "train/run_log.h"
#include "train/showcase.h"
#include "train/update_samples.h"
#include "train/validation_result.h"

namespace mfl {

struct ReportOptions {
  std::filesystem::path folder;        // of log.jsonl and event files
  std::int64_t print_every = 1;        // passes between progress lines
  std::int64_t log_every = 1;          // between log lines, but for a run's first hundred passes; 0: none
  double clip_norm = 0, allowed_factor = 0;   // what the alarm talks about
  int max_skipped = 100;               // mfl.max_skipped
  FaultKeys faults = {};
  std::string remedy;                  // what to do about a run that diverged
};

class RunReport {
 public:
  // Every rank keeps the ledger; the leader speaks.
  RunReport(bool leader, ReportOptions);

  void start(const RunHeader&);        // and says where the run begins and ends
  // An update whose results have arrived; the samples of one that was not finite. `fill` completes a record that is wanted: losses,
  // epoch, speed, memory. False: the run has diverged (divergence.h), the same on every rank.
  bool update(const UpdateResult&, const Suspects&, const std::function<void(StepRecord&)>& fill);
  void slow(std::int64_t pass, const SlowRank&);

  // Of a run that diverged. It may go back once in its life, then it ends.
  const std::string& why() const { return why_; }
  // Of a limit on checkpoints (0: none): 0 while updates are left out, else at least 2, so that a sound one is always there.
  int checkpoints_to_keep(int limit) const;
  bool may_return() const { return options_.faults.rollback && returns_ == 0; }
  std::int64_t sound_before() const { return divergence_.sound_before(); }
  // The leader knows whether a save was refused because the state is not finite; all ranks ask together. True: has diverged, until it
  // goes back.
  bool refused(Communicator&);
  void returned(std::int64_t from, std::int64_t to, const std::string& where, std::uint64_t data_position);
  void diverged(std::int64_t pass);    // and the run ends: says all that is known
  ReturnPoints points;                 // of the leader
  void validation(std::int64_t pass, const ValidationResult&);
  void shown(const Showcase::Shown&);  // what a validation has left; a warning where something is missing
  // The caller saves what there is, then ends the run with this failure.
  void validation_failed(std::int64_t pass, std::exception_ptr);
  void saved(const SavedCheckpoint&);
  void save_failed(const FailedSave&, bool go_on);   // counted; end() states how many
  // The run's length, and how much of it the loop spent on validation and on pictures.
  struct Spent {
    double all = 0, validation = 0, pictures = 0;   // seconds
  };
  void end(std::int64_t pass, const Spent&);

  PassMeter meter;
  EventWriter events;

 private:
  bool leader_;
  ReportOptions options_;
  RunLog log_;
  Progress progress_;
  UpdateLedger ledger_;
  Divergence divergence_;
  std::string why_;
  int returns_ = 0;
  std::int64_t refused_ = -1;                 // pass of the save that was refused; told to all ranks by refused()
  std::string refusal_;
  std::deque<std::string> suspects_;          // "pass 12: rank 0: scene_3 (l2_loss)", the last ones
  std::int64_t first_ = 0, total_ = 0;
  std::int64_t failed_saves_ = 0;
  bool told_missing_ = false;
};

// What a run's writer of checkpoints does: reports, and on failure what mfl.on_checkpoint_failure says (stop or continue).
SaveOptions save_options(RunReport&, const std::string& on_failure, bool verify);

}  // namespace mfl
