// Launch arithmetic and the check after every launch. Included by .cu files only.
#pragma once

#include <cuda_bf16.h>

#include <cstdlib>

#include "runtime/bf16.h"
#include "runtime/cuda_check.h"
#include "runtime/stream.h"

namespace mfl::cuda {

inline cudaStream_t native(const Stream& s) { return static_cast<cudaStream_t>(s.native()); }

template <class A, class B>
__host__ __device__ constexpr auto ceil_div(A a, B b) {
  return (a + b - 1) / b;
}

// Does not synchronise. MFL_SYNC=1 in the environment synchronises after each launch, to locate a fault.
inline void check_launch(const char* kernel, const Stream& s) {
  static const bool sync = std::getenv("MFL_SYNC") && std::getenv("MFL_SYNC")[0] == '1';
  cudaError_t status = cudaGetLastError();
  if (status == cudaSuccess && sync) status = cudaStreamSynchronize(native(s));
  if (status != cudaSuccess) [[unlikely]]
    throw_error<DeviceError>(kernel, ": ", cudaGetErrorString(status), " (", cudaGetErrorName(status), ")");
}

// Dynamic shared memory above 48 KiB must be asked for, once per kernel and device.
template <class Kernel>
void allow_shared(Kernel kernel, std::size_t bytes) {
  if (bytes > 48 * 1024)
    MFL_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
}

// ---- element conversion on the device; storage type bf16 is __nv_bfloat16 there ----
template <class T> struct device_type { using type = T; };
template <> struct device_type<bf16> { using type = __nv_bfloat16; };
template <class T> using device_t = typename device_type<T>::type;

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
template <class T> __device__ inline T from_float(float x);
template <> __device__ inline float from_float<float>(float x) { return x; }
template <> __device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x) { return __float2bfloat16_rn(x); }

template <class T> __host__ const device_t<T>* pointer(const ConstView& v) { return static_cast<const device_t<T>*>(v.data); }
template <class T> __host__ device_t<T>* pointer(const View& v) { return static_cast<device_t<T>*>(v.data); }

// A device file's dtypes: f32 and bf16. f64 exists on the CPU only, where gradients are checked.
template <class F>
void dispatch_gpu(const char* op, DType t, F&& f) {
  if (t == DType::f32) return f(float{});
  if (t == DType::bf16) return f(bf16{});
  throw_error<DeviceError>(op, ": ", t, " is not supported on CUDA (f32 and bf16 are)");
}

// ---- warp and block reductions: fixed order, hence deterministic ----
__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) x += __shfl_xor_sync(0xffffffffu, x, lane);
  return x;
}
__device__ inline float warp_max(float x) {
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, lane));
  return x;
}
// Sum over the block, valid in every thread. kThreads is a multiple of 32 and at most 1024. Contains barriers.
template <int kThreads>
__device__ inline float block_sum(float x) {
  __shared__ float partial[kThreads / 32];
  x = warp_sum(x);
  __syncthreads();
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
  __syncthreads();
  float total = 0;
#pragma unroll
  for (int i = 0; i < kThreads / 32; ++i) total += partial[i];
  return total;
}

}  // namespace mfl::cuda
