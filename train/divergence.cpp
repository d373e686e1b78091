#include "train/divergence.h"

#include <algorithm>
#include <cmath>

#include "runtime/error.h"

namespace mfl {

std::optional<std::string> Divergence::record(const UpdateResult& u) {
  history_.push_back(u);
  if (history_.size() > kHistory) history_.pop_front();
  const UpdateOutcome outcome = u.scalars.outcome;
  if (outcome == UpdateOutcome::applied || outcome == UpdateOutcome::clipped) {
    non_finite_ = not_applied_ = 0;
    sound_before_ = u.pass;
    return loss_grew(u);
  }
  ++not_applied_;
  non_finite_ = outcome == UpdateOutcome::non_finite ? non_finite_ + 1 : 0;
  if (non_finite_ >= max_non_finite_)
    return text(non_finite_, " updates in a row had a loss or gradient that is not finite (mfl.faults.max_non_finite)");
  if (not_applied_ >= max_skipped_) return text(not_applied_, " updates in a row were not applied (mfl.max_skipped)");
  return std::nullopt;
}

std::optional<std::string> Divergence::loss_grew(const UpdateResult& u) {
  if (factor_ <= 0) return std::nullopt;
  if (u.objective != objective_) {
    objective_ = u.objective;
    window_.clear();
    lowest_.reset();
  }
  window_.push_back(u.loss);
  if (window_.size() < kWindow) return std::nullopt;
  std::nth_element(window_.begin(), window_.begin() + kWindow / 2, window_.end());
  const double median = window_[kWindow / 2];
  window_.clear();
  if (!lowest_ || median < *lowest_) lowest_ = median;
  if (median <= factor_ / 2 * *lowest_) sound_window_ = u.pass;
  if (*lowest_ <= 0 || median <= factor_ * *lowest_) return std::nullopt;
  sound_before_ = std::min(sound_before_, sound_window_ + 1);
  return text("the median loss of the last ", kWindow, " updates, ", median, ", is more than ", factor_,
              " times the lowest such median of this run, ", *lowest_, " (mfl.faults.divergence_factor)");
}

}  // namespace mfl
