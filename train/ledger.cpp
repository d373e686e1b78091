#include "train/ledger.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/error.h"

namespace mfl {

void UpdateLedger::record(UpdateOutcome outcome, double norm) {
  const bool applied = outcome == UpdateOutcome::applied || outcome == UpdateOutcome::clipped;
  counts_.applied += applied;
  counts_.clipped += outcome == UpdateOutcome::clipped;
  counts_.norm_skip += outcome == UpdateOutcome::norm_skip;
  counts_.non_finite += outcome == UpdateOutcome::non_finite;
  in_a_row_ = applied ? 0 : in_a_row_ + 1;
  window_.push_back({outcome, norm});
  if (window_.size() > kWindow) window_.pop_front();
  if (quiet_for_ > 0) --quiet_for_;
}

std::string UpdateLedger::summary() const {
  return text(counts_.applied, " applied (", counts_.clipped, " clipped), ", counts_.norm_skip, " skipped, ",
              counts_.non_finite, " non-finite");
}

std::optional<std::string> UpdateLedger::alarm(double clip, double factor) {
  if (window_.size() < kLeast || quiet_for_ > 0) return std::nullopt;
  std::size_t skipped = 0, non_finite = 0;
  std::vector<double> norms;
  for (const Entry& e : window_) {
    skipped += e.outcome == UpdateOutcome::norm_skip;
    non_finite += e.outcome == UpdateOutcome::non_finite;
    if (std::isfinite(e.norm)) norms.push_back(e.norm);
  }
  if (static_cast<double>(skipped + non_finite) <= kShare * static_cast<double>(window_.size())) return std::nullopt;
  quiet_for_ = kWindow;
  std::string s =
      text(skipped + non_finite, " of the last ", window_.size(), " updates were not applied: ", skipped,
           " with a gradient norm above ", factor, " x ", clip, " (allowed_gradnorm_factor x grad_clip_norm), ",
           non_finite, " with a loss or gradient that is not finite.");
  if (skipped > 0 && !norms.empty() && clip > 0) {
    std::sort(norms.begin(), norms.end());
    const double high = norms[(norms.size() - 1) * 95 / 100];
    s += text(" 95 % of these norms are below ", high, ": an allowed_gradnorm_factor of ", std::ceil(1.2 * high / clip),
              " would clip them instead; a lower learning rate or a longer warm-up makes them smaller.");
  }
  if (non_finite > 0) s += " The first bad tensor is named above.";
  return s;
}

}  // namespace mfl
