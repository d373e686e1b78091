// One block; integer counts, so the order of the sum does not matter. 1.6 M elements take a few microseconds.
#include "kernels/common/launch.cuh"
#include "kernels/elementwise/share.h"

namespace mfl::cuda {
namespace {

constexpr int kThreads = 1024;

__global__ void share_above_kernel(const float* __restrict__ gX, std::int64_t n, float threshold, float* __restrict__ gShare) {
  __shared__ unsigned long long total;
  if (threadIdx.x == 0) total = 0;
  __syncthreads();
  unsigned long long mine = 0;
  for (std::int64_t i = threadIdx.x; i < n; i += kThreads) mine += gX[i] > threshold;
  atomicAdd(&total, mine);
  __syncthreads();
  if (threadIdx.x == 0) *gShare = float(double(total) / double(n));
}

}  // namespace

void share_above(const Stream& s, const ShareAbove& a) {
  if (a.x.dtype != DType::f32) throw_error<DeviceError>("share_above: ", a.x.dtype, " is not supported on CUDA (f32 is)");
  share_above_kernel<<<1, kThreads, 0, native(s)>>>(pointer<float>(a.x), a.x.numel(), float(a.threshold),
                                                    pointer<float>(a.share));
  check_launch("share_above_kernel", s);
}

}  // namespace mfl::cuda
