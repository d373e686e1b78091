// When a run has diverged, and which of its checkpoints it can trust. Every rank decides, on numbers that are the same on all.
//
// A run has diverged when
//   max_non_finite updates in a row had a loss or gradient that is not finite, or
//   max_skipped updates in a row were not applied for any reason, or
//   the median loss of kWindow applied updates is above factor x the lowest such median since the run began, was rolled back, or
//   its loss weights changed. Windows follow one another; a median, so that single peaks do not count.
//
// A checkpoint is sound when an update behind it was applied: its weights gave a finite loss and gradient. Of a run whose loss grew
// it must also not be younger than the last window whose median was below half of that bound.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "kernels/optim/step_scalars.h"

namespace mfl {

// An update whose results are on the host.
struct UpdateResult {
  std::int64_t pass = 0;           // behind which it was made
  double learning_rate = 0;
  StepScalars scalars = {};
  std::string bad_segment = {};    // the first parameter whose gradient is not finite; empty: none
  double loss = 0;                 // mean over ranks and micro-batches
  std::uint64_t objective = 0;     // losses of different ones do not compare
};

class Divergence {
 public:
  static constexpr std::size_t kWindow = 50, kHistory = 10;
  Divergence(int max_non_finite, int max_skipped, double factor) : max_non_finite_(max_non_finite), max_skipped_(max_skipped), factor_(factor) {}

  void start(std::int64_t pass) { *this = Divergence(max_non_finite_, max_skipped_, factor_), sound_before_ = pass; }   // unproven weights
  void returned(std::int64_t pass) { start(pass + 1); }                                                                 // sound ones
  // Why the run has diverged, with this update; nothing where it has not.
  std::optional<std::string> record(const UpdateResult&);
  // A checkpoint of this pass holds numbers that are not finite.
  void refused(std::int64_t pass) { sound_before_ = std::min(sound_before_, pass); }
  std::int64_t sound_before() const { return sound_before_; }   // checkpoints of earlier passes are sound
  const std::deque<UpdateResult>& history() const { return history_; }   // the last kHistory, oldest first

 private:
  std::optional<std::string> loss_grew(const UpdateResult&);
  int max_non_finite_, max_skipped_;
  double factor_;
  std::int64_t non_finite_ = 0, not_applied_ = 0;   // in a row
  std::int64_t sound_before_ = 0, sound_window_ = -1;
  std::uint64_t objective_ = 0;
  std::vector<double> window_;
  std::optional<double> lowest_;
  std::deque<UpdateResult> history_;
};

}  // namespace mfl
