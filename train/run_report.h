// What a run says while it runs, whatever it trains: every update's outcome to the terminal, the log and the event file, the
// ledger with its alarm, validations, checkpoints.
#pragma once

#include <exception>
#include <filesystem>
#include <functional>
#include <string>

#include "kernels/optim/step_scalars.h"
#include "train/background_save.h"
#include "train/event_writer.h"
#include "train/ledger.h"
#include "train/progress.h"
#include "train/run_log.h"
#include "train/showcase.h"
#include "train/validation_result.h"

namespace mfl {

struct ReportOptions {
  std::filesystem::path folder;        // of log.jsonl and event files
  std::int64_t print_every = 1;        // passes between progress lines
  std::int64_t log_every = 1;          // between log lines, but for a run's first hundred passes; 0: none
  double clip_norm = 0, allowed_factor = 0;   // what the alarm talks about
  int max_skipped = 100;               // so many updates in a row that were not applied end the run
  std::string remedy;                  // what to do then
};

class RunReport {
 public:
  // Every rank keeps the ledger; the leader speaks.
  RunReport(bool leader, ReportOptions);

  void start(const RunHeader&);        // and says where the run begins and ends
  // An update whose results have arrived, after `pass` passes. `fill` completes a record that is wanted: losses, epoch, speed,
  // memory. False: training must stop, too many updates were not applied.
  bool update(std::int64_t pass, double learning_rate, const StepScalars&, const std::string& bad_segment,
              const std::function<void(StepRecord&)>& fill);
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
  std::int64_t first_ = 0, total_ = 0;
  std::int64_t failed_saves_ = 0;
  bool told_missing_ = false;
};

// What a run's writer of checkpoints does: reports, and on failure what mfl.on_checkpoint_failure says (stop or continue).
SaveOptions save_options(RunReport&, const std::string& on_failure, bool verify);

}  // namespace mfl
