// MFL_CUDA(call): throws DeviceError with the call, the library's own text and the place. Files that need CUDA include it.
#pragma once

#include <cuda_runtime_api.h>

#include "runtime/error.h"

#define MFL_CUDA(call)                                                                                    \
  do {                                                                                                    \
    const cudaError_t mfl_status = (call);                                                                \
    if (mfl_status != cudaSuccess) [[unlikely]] {                                                         \
      (void)cudaGetLastError();                                                                           \
      ::mfl::fail<::mfl::DeviceError>(__FILE__, __LINE__, "CUDA: ", cudaGetErrorString(mfl_status), " (", \
                                      cudaGetErrorName(mfl_status), ") in ", #call);                      \
    }                                                                                                     \
  } while (0)
