// Moving average of parameters.
//   Map        eight elements a thread (map.cuh).    Bytes   8n read, 4n written.    Bound by   memory.
//   Numerics   f32, the order of operations of EMAModel.step.    Deterministic: yes.
#include "kernels/common/map.cuh"
#include "kernels/optim/ema.h"

namespace mfl::cuda {
namespace {

struct Average {
  float keep;
  __device__ float operator()(float value, float, float shadow) const {
    return keep == 1 ? value : shadow - keep * (shadow - value);
  }
};

}  // namespace

void ema(const Stream& s, const Ema& a) {
  if (a.shadow.dtype != DType::f32)
    throw_error<DeviceError>("ema: averages of type ", a.shadow.dtype, " are not supported on CUDA (f32 is)");
  map<true>("ema", s, pointer<float>(a.value), static_cast<const float*>(nullptr), pointer<float>(a.shadow),
            a.shadow.numel(), Average{float(1 - a.decay)});
}

}  // namespace mfl::cuda
