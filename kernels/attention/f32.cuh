// Attention in f32, for fp32 compute and for golden comparisons: plain tiles, FMA units, no reduced precision anywhere.
//
// One block has 32 rows (queries, or keys in the dk-dv kernel) against tiles of 32 columns. Thread (ty, tx) of 16 x 16
// holds rows ty and ty + 16; of a 32 x 32 tile it has columns tx and tx + 16, of an output row the values tx, tx + 16,
// ...
#pragma once

#include "kernels/attention/rows.cuh"

namespace mfl::cuda::f32 {

constexpr int kTile = 32, kThreads = 256;

template <int kD>
using Tile = float[kTile][kD + 1];  // the odd stride keeps a column's reads on different banks
using Square = float[kTile][kTile + 1];

template <int kD>
__device__ void load(Tile<kD>& s, const float* g, std::int64_t stride, int first, int length) {
  for (int i = threadIdx.x; i < kTile * kD; i += kThreads) {
    const int r = i / kD, d = i % kD;
    s[r][d] = first + r < length ? g[(first + r) * stride + d] : 0.0f;
  }
}

// out[i][j] = sum_d sA[ty + 16 i][d] sB[tx + 16 j][d]
template <int kD>
__device__ void dots(float (&out)[2][2], const Tile<kD>& sA, const Tile<kD>& sB, int ty, int tx) {
#pragma unroll
  for (int i = 0; i < 2; ++i) out[i][0] = out[i][1] = 0;
#pragma unroll 8
  for (int d = 0; d < kD; ++d) {
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < 2; ++j) out[i][j] = fmaf(sA[ty + 16 * i][d], sB[tx + 16 * j][d], out[i][j]);
  }
}

// out[i][c] += sum_j sW[ty + 16 i][j] sB[j][tx + 16 c]
template <int kD>
__device__ void weigh(float (&out)[2][kD / 16], const Square& sW, const Tile<kD>& sB, int ty, int tx) {
#pragma unroll 4
  for (int j = 0; j < kTile; ++j)
#pragma unroll
    for (int c = 0; c < kD / 16; ++c)
#pragma unroll
      for (int i = 0; i < 2; ++i) out[i][c] = fmaf(sW[ty + 16 * i][j], sB[j][tx + 16 * c], out[i][c]);
}

template <int kD>
__device__ void store(const float (&x)[2][kD / 16], float factor, float* g, std::int64_t stride, int first, int length,
                      int ty, int tx) {
#pragma unroll
  for (int i = 0; i < 2; ++i)
    if (first + ty + 16 * i < length)
#pragma unroll
      for (int c = 0; c < kD / 16; ++c) g[(first + ty + 16 * i) * stride + tx + 16 * c] = factor * x[i][c];
}

template <int kD>
struct FwdShared {
  Tile<kD> q, k, v;
  Square p;
};

template <int kD>
__global__ void __launch_bounds__(kThreads)
    attention_fwd_f32_kernel(Rows<const float> gQ, Rows<const float> gK, Rows<const float> gV, Rows<float> gY,
                             float* __restrict__ gLse, float scale, Lengths n) {
  extern __shared__ __align__(16) unsigned char shared[];
  auto& s = *reinterpret_cast<FwdShared<kD>*>(shared);
  const int a = blockIdx.y, b = blockIdx.z, first = blockIdx.x * kTile, ty = threadIdx.x / 16, tx = threadIdx.x % 16;
  load<kD>(s.q, gQ.head(b, a), gQ.stride, first, n.queries);
  float y[2][kD / 16] = {}, top[2] = {-INFINITY, -INFINITY}, sum[2] = {};
  for (int key = 0; key < n.keys; key += kTile) {
    __syncthreads();
    load<kD>(s.k, gK.head(b, a), gK.stride, key, n.keys);
    load<kD>(s.v, gV.head(b, a), gV.stride, key, n.keys);
    __syncthreads();
    float p[2][2];
    dots<kD>(p, s.q, s.k, ty, tx);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float high = top[i], add = 0;
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        p[i][j] = key + tx + 16 * j < n.keys ? p[i][j] * scale : -INFINITY;
        high = fmaxf(high, p[i][j]);
      }
#pragma unroll
      for (int lane = 8; lane > 0; lane /= 2) high = fmaxf(high, __shfl_xor_sync(0xffffffffu, high, lane));
      const float shrink = expf(top[i] - high);
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        p[i][j] = expf(p[i][j] - high);
        add += p[i][j];
        s.p[ty + 16 * i][tx + 16 * j] = p[i][j];
      }
#pragma unroll
      for (int lane = 8; lane > 0; lane /= 2) add += __shfl_xor_sync(0xffffffffu, add, lane);
      top[i] = high, sum[i] = sum[i] * shrink + add;
#pragma unroll
      for (int c = 0; c < kD / 16; ++c) y[i][c] *= shrink;
    }
    __syncwarp();  // a warp has two rows of ty, each with its partner 16 below, and reads no others
    weigh<kD>(y, s.p, s.v, ty, tx);
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int c = 0; c < kD / 16; ++c) y[i][c] /= sum[i];
    const int t = first + ty + 16 * i;
    if (gLse && tx == 0 && t < n.queries) gLse[(std::int64_t(b) * n.heads + a) * n.queries + t] = top[i] + logf(sum[i]);
  }
  store<kD>(y, 1.0f, gY.head(b, a), gY.stride, first, n.queries, ty, tx);
}

template <int kD>
struct BwdShared {
  Tile<kD> q, k, v, dy;
  Square p, ds;
};

// dk and dv of 32 keys, over all queries.
template <int kD>
__global__ void __launch_bounds__(kThreads)
    attention_dkdv_f32_kernel(Rows<const float> gQ, Rows<const float> gK, Rows<const float> gV, Rows<const float> gDy,
                              QueryScalars scalars, Rows<float> gDk, Rows<float> gDv, float scale, Lengths n) {
  extern __shared__ __align__(16) unsigned char shared[];
  auto& s = *reinterpret_cast<BwdShared<kD>*>(shared);
  const int a = blockIdx.y, b = blockIdx.z, first = blockIdx.x * kTile, ty = threadIdx.x / 16, tx = threadIdx.x % 16;
  const std::int64_t row = (std::int64_t(b) * n.heads + a) * padded(n.queries);
  load<kD>(s.k, gK.head(b, a), gK.stride, first, n.keys);
  load<kD>(s.v, gV.head(b, a), gV.stride, first, n.keys);
  float dk[2][kD / 16] = {}, dv[2][kD / 16] = {};
  for (int query = 0; query < n.queries; query += kTile) {
    __syncthreads();
    load<kD>(s.q, gQ.head(b, a), gQ.stride, query, n.queries);
    load<kD>(s.dy, gDy.head(b, a), gDy.stride, query, n.queries);
    __syncthreads();
    float p[2][2], dp[2][2];
    dots<kD>(p, s.k, s.q, ty, tx);
    dots<kD>(dp, s.v, s.dy, ty, tx);
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const std::int64_t t = row + query + tx + 16 * j;
        const float e = exp2f(p[i][j] * (scale * kLog2E) - scalars.gLse2[t]);
        s.p[ty + 16 * i][tx + 16 * j] = e;
        s.ds[ty + 16 * i][tx + 16 * j] = e * (dp[i][j] - scalars.gDelta[t]);
      }
    __syncwarp();
    weigh<kD>(dv, s.p, s.dy, ty, tx);
    weigh<kD>(dk, s.ds, s.q, ty, tx);
  }
  store<kD>(dk, scale, gDk.head(b, a), gDk.stride, first, n.keys, ty, tx);
  store<kD>(dv, 1.0f, gDv.head(b, a), gDv.stride, first, n.keys, ty, tx);
}

// dq of 32 queries, over all keys.
template <int kD>
__global__ void __launch_bounds__(kThreads)
    attention_dq_f32_kernel(Rows<const float> gQ, Rows<const float> gK, Rows<const float> gV, Rows<const float> gDy,
                            QueryScalars scalars, Rows<float> gDq, float scale, Lengths n) {
  extern __shared__ __align__(16) unsigned char shared[];
  auto& s = *reinterpret_cast<BwdShared<kD>*>(shared);
  const int a = blockIdx.y, b = blockIdx.z, first = blockIdx.x * kTile, ty = threadIdx.x / 16, tx = threadIdx.x % 16;
  const std::int64_t row = (std::int64_t(b) * n.heads + a) * padded(n.queries) + first;
  load<kD>(s.q, gQ.head(b, a), gQ.stride, first, n.queries);
  load<kD>(s.dy, gDy.head(b, a), gDy.stride, first, n.queries);
  float dq[2][kD / 16] = {};
  for (int key = 0; key < n.keys; key += kTile) {
    __syncthreads();
    load<kD>(s.k, gK.head(b, a), gK.stride, key, n.keys);
    load<kD>(s.v, gV.head(b, a), gV.stride, key, n.keys);
    __syncthreads();
    float p[2][2], dp[2][2];
    dots<kD>(p, s.q, s.k, ty, tx);
    dots<kD>(dp, s.dy, s.v, ty, tx);
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const std::int64_t t = row + ty + 16 * i;
        const float e = exp2f(p[i][j] * (scale * kLog2E) - scalars.gLse2[t]);
        s.ds[ty + 16 * i][tx + 16 * j] = key + tx + 16 * j < n.keys ? e * (dp[i][j] - scalars.gDelta[t]) : 0.0f;
      }
    __syncwarp();
    weigh<kD>(dq, s.ds, s.k, ty, tx);
  }
  store<kD>(dq, scale, gDq.head(b, a), gDq.stride, first, n.queries, ty, tx);
}

}  // namespace mfl::cuda::f32
