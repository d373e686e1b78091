// Host memory that the kernels of a device read and write over the bus, for what is touched once an update and does not fit.
#pragma once

#include "runtime/tensor.h"

namespace mfl {

// A tensor of `device` in every respect but where it lies; on the CPU and on meta as Tensor::on_heap.
inline Tensor on_host_for(Device device, Shape shape, DType dtype, Purpose purpose = {}) {
  return device.is_cuda() ? Tensor::pinned(shape, dtype, purpose, device) : Tensor::on_heap(shape, dtype, device, purpose);
}

}  // namespace mfl
