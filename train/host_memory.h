// Host memory that the kernels of a device read and write over the bus, for what is touched once an update and does not fit.
#pragma once

#include "runtime/tensor.h"

namespace mfl {

// A tensor of `device` in every respect but where it lies: on CUDA pinned host memory, whose address is one for host and device
// (unified addressing); on the CPU and on meta as Tensor::on_heap.
Tensor on_host_for(Device device, Shape, DType, Purpose = {});

}  // namespace mfl
