// Forward in bf16 for sm_80 and later.                                                                       Dao 2023
//
// One block has 64 queries of one head, one warp 16 of them; keys pass in tiles of 64 through two shared buffers (tile
// j + 1 is on its way while tile j is used). Logits, P and y stay in registers.
#pragma once

#include "kernels/attention/mma.cuh"
#include "kernels/attention/rows.cuh"

namespace mfl::cuda::sm80 {

constexpr int kThreads = 128, kTile = 64;

template <int kD>
struct FwdShared {
  __nv_bfloat16 q[kTile * kD], k[2][kTile * kD], v[2][kTile * kD];
};

template <int kD>
__global__ void __launch_bounds__(kThreads)
    attention_fwd_sm80_kernel(Rows<const __nv_bfloat16> gQ, Rows<const __nv_bfloat16> gK, Rows<const __nv_bfloat16> gV,
                              Rows<__nv_bfloat16> gY, float* __restrict__ gLse, float scale, Lengths n) {
  extern __shared__ __align__(128) unsigned char shared[];
  auto& s = *reinterpret_cast<FwdShared<kD>*>(shared);
  const int a = blockIdx.y, b = blockIdx.z, first = blockIdx.x * kTile, row = threadIdx.x / 32 * 16;
  const int lane = threadIdx.x % 32;
  const float to_log2 = scale * kLog2E;
  auto load_tile = [&](int tile) {
    mma::load_async<kTile, kD, kThreads>(s.k[tile % 2], gK.head(b, a), gK.stride, tile * kTile, n.keys);
    mma::load_async<kTile, kD, kThreads>(s.v[tile % 2], gV.head(b, a), gV.stride, tile * kTile, n.keys);
    mma::commit_async();
  };
  mma::load_async<kTile, kD, kThreads>(s.q, gQ.head(b, a), gQ.stride, first, n.queries);
  load_tile(0);

  mma::Acc y[kD / 8] = {};
  float top[2] = {-INFINITY, -INFINITY}, sum[2] = {};  // rows g and g + 8; sum: this lane's columns
  const int tiles = ceil_div(n.keys, kTile);
  for (int tile = 0; tile < tiles; ++tile) {
    mma::wait_async();
    __syncthreads();  // tile has arrived for all, and all are done with tile - 1
    if (tile + 1 < tiles) load_tile(tile + 1);
    mma::Acc p[kTile / 8];
    mma::dot_rows<kD, kTile>(p, s.q, row, s.k[tile % 2]);
    if ((tile + 1) * kTile > n.keys) {
#pragma unroll
      for (int c = 0; c < kTile / 8; ++c)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          if (tile * kTile + 8 * c + lane % 4 * 2 + e % 2 >= n.keys) p[c][e] = -INFINITY;
    }
    float high[2] = {top[0], top[1]};
#pragma unroll
    for (int c = 0; c < kTile / 8; ++c)
#pragma unroll
      for (int e = 0; e < 4; ++e) high[e / 2] = fmaxf(high[e / 2], p[c][e]);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      high[i] = fmaxf(high[i], __shfl_xor_sync(0xffffffffu, high[i], 1));
      high[i] = fmaxf(high[i], __shfl_xor_sync(0xffffffffu, high[i], 2));
      // The first key of a tile is always valid, so high is finite.
      const float shrink = exp2_approx((top[i] - high[i]) * to_log2);
      top[i] = high[i], sum[i] *= shrink;
#pragma unroll
      for (int c = 0; c < kD / 8; ++c) y[c][2 * i] *= shrink, y[c][2 * i + 1] *= shrink;
    }
#pragma unroll
    for (int c = 0; c < kTile / 8; ++c)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        p[c][e] = exp2_approx(fmaf(p[c][e], to_log2, -top[e / 2] * to_log2));
        sum[e / 2] += p[c][e];
      }
    mma::weigh_rows<kD, kTile>(y, p, s.v[tile % 2]);
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], 1);
    sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], 2);
    const int t = first + row + lane / 4 + 8 * i;
    if (gLse && lane % 4 == 0 && t < n.queries)
      gLse[(std::int64_t(b) * n.heads + a) * n.queries + t] = top[i] * scale + logf(sum[i]);
  }
  mma::store_rows<kD>(y, 1 / sum[0], 1 / sum[1], gY.head(b, a), gY.stride, first + row, n.queries);
}

}  // namespace mfl::cuda::sm80
