// Weighted mean squared error of samples.
//   Map        one block a sample: 16384 elements in the shipped configuration; a second launch adds the samples.
//   Bytes      6 (bf16) or 8 (f32) an element.    Bound by   latency: the whole is 6 MB at batch 8.
//   Numerics   f32, fixed order.    Deterministic: yes.
#include "kernels/common/launch.cuh"
#include "kernels/loss/sum_parts.cuh"
#include "kernels/loss/weighted_mse.h"

namespace mfl::cuda {
namespace {

constexpr int kThreads = 512;

template <class T>
__global__ void __launch_bounds__(kThreads)
    weighted_mse_kernel(const T* __restrict__ gX, const float* __restrict__ gTarget, const float* __restrict__ gWeights,
                        float* __restrict__ gPerSample, std::int64_t size) {
  const std::int64_t first = std::int64_t(blockIdx.x) * size;
  float sum = 0;
  for (std::int64_t i = threadIdx.x; i < size; i += kThreads) {
    const float e = to_float(gX[first + i]) - gTarget[first + i];
    sum = fmaf(e, e, sum);
  }
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) gPerSample[blockIdx.x] = gWeights[blockIdx.x] * (sum / float(size));
}

template <class T>
__global__ void __launch_bounds__(256)
    weighted_mse_bwd_kernel(const T* __restrict__ gX, const float* __restrict__ gTarget, const float* __restrict__ gWeights,
                            float factor, T* gDx, std::int64_t size, std::int64_t total, bool accumulate) {
  const std::int64_t i = std::int64_t(blockIdx.x) * 256 + threadIdx.x;
  if (i >= total) return;
  const float g = factor * gWeights[i / size] * (to_float(gX[i]) - gTarget[i]);
  gDx[i] = from_float<T>(accumulate ? to_float(gDx[i]) + g : g);
}

}  // namespace

void weighted_mse_fwd(const Stream& s, const WeightedMseFwd& a) {
  const std::int64_t samples = a.x.shape[0], size = a.x.numel() / samples;
  dispatch_gpu("weighted_mse_fwd", a.x.dtype, [&](auto t) {
    using T = decltype(t);
    weighted_mse_kernel<<<unsigned(samples), kThreads, 0, native(s)>>>(pointer<T>(a.x), pointer<float>(a.target),
                                                                       pointer<float>(a.weights),
                                                                       pointer<float>(a.per_sample), size);
    check_launch("weighted_mse_kernel", s);
  });
  sum_parts(s, pointer<float>(a.per_sample), samples, 1.0 / double(samples), pointer<float>(a.loss), false);
}

void weighted_mse_bwd(const Stream& s, const WeightedMseBwd& a) {
  const std::int64_t samples = a.x.shape[0], total = a.x.numel(), size = total / samples;
  dispatch_gpu("weighted_mse_bwd", a.x.dtype, [&](auto t) {
    using T = decltype(t);
    weighted_mse_bwd_kernel<<<unsigned(ceil_div(total, std::int64_t{256})), 256, 0, native(s)>>>(
        pointer<T>(a.x), pointer<float>(a.target), pointer<float>(a.weights), float(2 * a.weight / double(total)),
        pointer<T>(a.dx), size, total, a.dx_mode == GradMode::accumulate);
    check_launch("weighted_mse_bwd_kernel", s);
  });
}

}  // namespace mfl::cuda
