// The second stage of the losses' sums: one block adds the blocks' partial sums, always in the same order.
#pragma once

#include "kernels/common/launch.cuh"

namespace mfl::cuda {

// loss = scale * sum of parts, or loss += that.
inline __global__ void sum_parts_kernel(const float* __restrict__ gParts, int parts, float scale, float* gLoss,
                                        bool accumulate) {
  float sum = 0;
  for (int i = threadIdx.x; i < parts; i += 256) sum += gParts[i];
  sum = block_sum<256>(sum);
  if (threadIdx.x == 0) *gLoss = (accumulate ? *gLoss : 0.0f) + scale * sum;
}

inline void sum_parts(const Stream& s, const float* parts, std::int64_t count, double scale, float* loss, bool accumulate) {
  sum_parts_kernel<<<1, 256, 0, native(s)>>>(parts, int(count), float(scale), loss, accumulate);
  check_launch("sum_parts_kernel", s);
}

}  // namespace mfl::cuda
