// The decision of DecideUpdate as scalar code for host and device: one definition, exact by inspection.
#pragma once

#include <cmath>

#include "kernels/optim/grad_norm.h"
#include "runtime/rng.h"

namespace mfl {

MFL_HD inline void decide(StepScalars& step, bool loss_finite, double factor, double max_norm, double allowed_factor,
                          double beta1, double beta2) {
  step.norm *= factor;
  const double room = max_norm > 0 ? max_norm / (step.norm + 1e-6) : 1.0;
  if (step.bad_segment >= 0 || !loss_finite || !(step.norm <= 1.7976931348623157e308)) {
    step.outcome = UpdateOutcome::non_finite;
  } else if (max_norm > 0 && allowed_factor > 0 && step.norm > allowed_factor * max_norm) {
    step.outcome = UpdateOutcome::norm_skip;
  } else {
    step.outcome = room < 1 ? UpdateOutcome::clipped : UpdateOutcome::applied;
  }
  step.apply = step.outcome == UpdateOutcome::applied || step.outcome == UpdateOutcome::clipped;
  step.grad_scale = factor * (room < 1 ? room : 1.0);
  if (step.apply) ++step.updates;
  step.bias1 = 1 - pow(beta1, double(step.updates));
  step.bias2 = 1 - pow(beta2, double(step.updates));
}

}  // namespace mfl
