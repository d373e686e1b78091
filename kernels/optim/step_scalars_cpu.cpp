#include "kernels/optim/step_scalars.h"

namespace mfl::cpu {

void init_scalars(const InitScalars& a) {
  StepScalars fresh;
  fresh.updates = a.updates;
  *static_cast<StepScalars*>(a.scalars.data) = fresh;
}

void set_learning_rate(const SetLearningRate& a) {
  static_cast<StepScalars*>(a.scalars.data)->learning_rate = a.learning_rate;
}

}  // namespace mfl::cpu
