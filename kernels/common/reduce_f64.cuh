// Sum over a block in f64, by halving: a fixed order, hence deterministic.
#pragma once

namespace mfl::cuda {

// Valid in every thread. kThreads is a power of two. Contains barriers.
template <int kThreads>
__device__ inline double block_sum_f64(double x) {
  __shared__ double sSum[kThreads];
  __syncthreads();  // a previous sum may still be read
  sSum[threadIdx.x] = x;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sSum[threadIdx.x] += sSum[threadIdx.x + half];
  }
  __syncthreads();
  return sSum[0];
}

}  // namespace mfl::cuda
