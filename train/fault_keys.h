// The keys `mfl.faults.*` of both configurations, and the only home of their defaults.
#pragma once

namespace mfl {

struct FaultKeys {
  int max_non_finite = 10;         // so many updates in a row with a loss or gradient that is not finite: the run has diverged
  double divergence_factor = 10;   // so has one whose loss is this many times its lowest (divergence.h); 0: no such rule
  bool rollback = true;            // the first time it goes back to the last sound checkpoint; false: it ends at once
  double slow_rank_factor = 1.5;   // a rank that takes so many times the median's own time is named; 0: none is
  double silence_seconds = 15;     // a rank that has not been heard for so long ends the run on all others (roll_call.h); 0: only mfl.stall_seconds does
  bool operator==(const FaultKeys&) const = default;
};

// Reads them, for a visitor of a configuration.
template <class Visit, class Keys>
void visit_fault_keys(Visit& v, Keys& k) {
  v("mfl.faults.max_non_finite", k.max_non_finite);
  v("mfl.faults.divergence_factor", k.divergence_factor);
  v("mfl.faults.rollback", k.rollback);
  v("mfl.faults.slow_rank_factor", k.slow_rank_factor);
  v("mfl.faults.silence_seconds", k.silence_seconds);
}
template <class Reader>
void check_fault_keys(Reader& r, const FaultKeys& k) {
  r.require(k.max_non_finite > 0, "mfl.faults.max_non_finite", "must be positive, not ", k.max_non_finite, '.');
  r.require(k.divergence_factor == 0 || k.divergence_factor > 1, "mfl.faults.divergence_factor", "must be above 1, or 0 for no rule, not ", k.divergence_factor, '.');
  r.require(k.slow_rank_factor == 0 || k.slow_rank_factor > 1, "mfl.faults.slow_rank_factor", "must be above 1, or 0 for no warning, not ", k.slow_rank_factor, '.');
  r.require(k.silence_seconds >= 0, "mfl.faults.silence_seconds", "must not be negative, not ", k.silence_seconds, '.');
}

}  // namespace mfl
