// Single-thread kernels on the step's struct: values travel as launch arguments, and no host memory must stay alive.
#include "kernels/common/launch.cuh"
#include "kernels/optim/step_scalars.h"

namespace mfl::cuda {
namespace {

__global__ void init_scalars_kernel(StepScalars* gScalars, StepScalars fresh) { *gScalars = fresh; }
__global__ void set_learning_rate_kernel(StepScalars* gScalars, double learning_rate) {
  gScalars->learning_rate = learning_rate;
}

}  // namespace

void init_scalars(const Stream& s, const InitScalars& a) {
  StepScalars fresh;
  fresh.updates = a.updates;
  init_scalars_kernel<<<1, 1, 0, native(s)>>>(static_cast<StepScalars*>(a.scalars.data), fresh);
  check_launch("init_scalars_kernel", s);
}

void set_learning_rate(const Stream& s, const SetLearningRate& a) {
  set_learning_rate_kernel<<<1, 1, 0, native(s)>>>(static_cast<StepScalars*>(a.scalars.data), a.learning_rate);
  check_launch("set_learning_rate_kernel", s);
}

}  // namespace mfl::cuda
