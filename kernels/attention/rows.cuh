// What every attention kernel takes: operands as rows of D values, and the two numbers of a query that backward needs.
#pragma once

#include <cstdint>

#include "kernels/attention/attention.h"
#include "kernels/common/launch.cuh"

namespace mfl::cuda {

constexpr float kLog2E = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;

// [B, T, A, D] with strides in elements; row(b, a, 0) is the first row of one head, `stride` lies between rows.
template <class T>
struct Rows {
  T* data;
  std::int64_t batch_stride, stride, head_stride;
  __device__ T* head(int b, int a) const { return data + b * batch_stride + a * head_stride; }
};
template <class T>
Rows<const device_t<T>> rows(const ConstView& v) {
  return {pointer<T>(v), v.stride[0], v.stride[1], v.stride[2]};
}
template <class T>
Rows<device_t<T>> rows(const View& v) {
  return {pointer<T>(v), v.stride[0], v.stride[1], v.stride[2]};
}

struct Lengths {
  int heads, queries, keys;
};

// Scratch of the backward: per head, lse in base 2 and delta = sum_D dy y, in rows padded to whole tiles of 128
// queries. A padded query has lse = +inf, hence P = 0, and delta = 0.
__host__ __device__ inline std::int64_t padded(std::int64_t queries) { return (queries + 127) / 128 * 128; }
struct QueryScalars {
  float* gLse2;   // [B, A, padded(Tq)]
  float* gDelta;  // [B, A, padded(Tq)]
};
inline QueryScalars query_scalars(const View& scratch) {
  float* first = pointer<float>(scratch);
  return {first, first + scratch.numel() / 2};
}

// 2^x on the special function unit: relative error 2^-22, 2^-inf = 0.
__device__ inline float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// One warp a query.
template <class T, int kD>
__global__ void attention_delta_kernel(Rows<const T> gY, Rows<const T> gDy, const float* __restrict__ gLse,
                                       QueryScalars to, Lengths n) {
  const int b = blockIdx.z, a = blockIdx.y, lane = threadIdx.x % 32;
  const std::int64_t head = std::int64_t(b) * n.heads + a, pad = padded(n.queries);
  const int t = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (t >= pad) return;
  float delta = 0, lse2 = INFINITY;
  if (t < n.queries) {
    const T* y = gY.head(b, a) + t * gY.stride;
    const T* dy = gDy.head(b, a) + t * gDy.stride;
#pragma unroll
    for (int d = lane; d < kD; d += 32) delta += to_float(y[d]) * to_float(dy[d]);
    delta = warp_sum(delta);
    lse2 = gLse[head * n.queries + t] * kLog2E;
  }
  if (lane == 0) to.gLse2[head * pad + t] = lse2, to.gDelta[head * pad + t] = delta;
}

}  // namespace mfl::cuda
