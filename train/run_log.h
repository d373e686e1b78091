// What a run leaves for people and scripts: one JSON line a log step in <log_dir>/log.jsonl, and the run's header.
//
// Every line has "event" (start, step, validation, checkpoint, alarm, non_finite, rolled_back, diverged, slow_rank, end) and "time"
// (seconds since 1970). A resumed run appends; its start line says at which pass, and lines of later passes that came before it are void. Numbers that
// are not finite are null. Logging never stops training: lines that cannot be written are one warning, and when the disk takes lines
// again a line "log_gap" says how many are missing. A line that a killed run or a full disk left unfinished is closed first.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "train/ledger.h"
#include "train/rank_times.h"
#include "train/update_samples.h"

namespace mfl {

// Named numbers in the order in which they are shown.
using Metrics = std::vector<std::pair<std::string, double>>;
// Named strings.
using Facts = std::vector<std::pair<std::string, std::string>>;

// What the start line says, so that a result can be reproduced.
struct RunHeader {
  std::string config_path = {};
  std::string config_hash = {};  // content_hash of the merged configuration
  std::string data_path = {}, data_hash = {};
  std::string device = {}, driver = {};
  std::string start = {};  // "new", "initialised from PATH", "resumed from PATH"
  std::int64_t start_pass = 0, total_passes = 0;
  std::int64_t samples = 0, samples_an_update = 0;   // of the data set; of all ranks and micro-batches
  int ranks = 1;
  std::uint32_t seed = 0;
  std::int64_t parameters = 0, trainable = 0;
  Facts more = {};  // whatever else belongs there: wandb names, precision, library versions
};

struct StepRecord {
  std::int64_t pass = 0, total_passes = 0;  // passes done, of how many
  std::int64_t update = 0;                  // updates applied
  double epoch = 0;                         // passes / passes an epoch
  double learning_rate = 0;
  double grad_norm = 0;  // before clipping
  Metrics losses;        // "loss" first
  double seconds_per_pass = 0, samples_per_second = 0;
  double data_wait = 0;          // seconds a pass that the device waited for data
  double flops_per_second = 0;   // model FLOPs of this rank; 0: not known
  double peak_flops = 0;         // what MFU is a share of; 0: not known
  std::size_t memory_bytes = 0;  // peak of the step
  // Of the last update with several ranks: seconds on the communication stream, and those of them that the compute stream waited.
  double reduction_seconds = 0, exposed_seconds = 0;
  RankSeconds ranks;             // of several ranks: each one's own time and data wait an update, since the last log step
  LedgerCounts ledger;
  double mfu() const { return peak_flops > 0 ? flops_per_second / peak_flops : 0; }
};

class RunLog {
 public:
  RunLog() = default;  // writes nothing: every rank but the first
  explicit RunLog(const std::filesystem::path& folder);

  void start(const RunHeader&);
  void step(const StepRecord&);
  void validation(std::int64_t pass, const Metrics&, const Facts& = {});
  // An update that was left out, and the samples that it was made of.
  void non_finite(std::int64_t pass, const std::string& what, const Suspects&);
  // Anything else that belongs on record.
  void event(const std::string& name, std::int64_t pass, const Facts& = {}, const Metrics& = {});
  const std::filesystem::path& path() const { return path_; }

 private:
  void line(const std::string& json);
  bool put(const std::string& json);
  std::filesystem::path path_;
  std::ofstream file_;
  std::int64_t missing_ = 0;   // lines since the last one that was written
  bool told_ = false;
};

// 64-bit FNV-1a as 16 hexadecimal digits: names a configuration or a list; no defence against forgery.
std::string content_hash(std::string_view bytes);

// Of this build: "0.1.0", the git commit ("unknown" outside a repository; "-dirty" appended for local changes), the
// compiler.
struct BuildInfo {
  std::string version, commit, compiler;
};
BuildInfo build_info();

}  // namespace mfl
