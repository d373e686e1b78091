// The update ledger: what became of every update, and an alarm when too many were not applied.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "kernels/optim/step_scalars.h"

namespace mfl {

struct LedgerCounts {
  std::int64_t applied = 0;  // clipped ones included
  std::int64_t clipped = 0;
  std::int64_t norm_skip = 0;   // gradient norm above allowed_gradnorm_factor * grad_clip_norm
  std::int64_t non_finite = 0;  // a loss or gradient that is no finite number
  std::int64_t not_applied() const { return norm_skip + non_finite; }
};

class UpdateLedger {
 public:
  static constexpr std::size_t kWindow = 100, kLeast = 20;  // updates looked back at; before kLeast there is no alarm
  static constexpr double kShare = 0.1;                     // of the window

  UpdateLedger() = default;
  explicit UpdateLedger(LedgerCounts resumed) : counts_(resumed) {}

  void record(UpdateOutcome, double grad_norm);
  const LedgerCounts& counts() const { return counts_; }
  // Updates since the last one that was applied.
  std::int64_t skipped_in_a_row() const { return in_a_row_; }
  // "980 applied (210 clipped), 20 skipped, 0 non-finite"
  std::string summary() const;

  // A sentence when more than kShare of the window were not applied: once when that begins, then once a window while it
  // lasts. It names the reasons and, for skips by norm, the factor that would let most of them pass.
  std::optional<std::string> alarm(double grad_clip_norm, double allowed_gradnorm_factor);

 private:
  struct Entry {
    UpdateOutcome outcome;
    double norm;
  };
  std::deque<Entry> window_;
  LedgerCounts counts_;
  std::int64_t in_a_row_ = 0;
  std::size_t quiet_for_ = 0;  // updates until the next alarm may sound
};

}  // namespace mfl
