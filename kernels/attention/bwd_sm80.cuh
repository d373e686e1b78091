// Backward in bf16 for sm_80 and later, in two kernels that both recompute P from lse: one owns keys and passes over
// the queries (dk, dv), one owns queries and passes over the keys (dq). Seven products instead of five, and no sum
// between blocks: the order of every sum is fixed.
#pragma once

#include "kernels/attention/fwd_sm80.cuh"

namespace mfl::cuda::sm80 {

template <int kD>
constexpr int kPass = kD == 128 ? 32 : 64;  // rows of the tiles that pass by; registers decide

template <int kD>
struct DkDvShared {
  __nv_bfloat16 k[kTile * kD], v[kTile * kD], q[2][kPass<kD> * kD], dy[2][kPass<kD> * kD];
};

template <int kD>
__global__ void __launch_bounds__(kThreads)
    attention_dkdv_sm80_kernel(Rows<const __nv_bfloat16> gQ, Rows<const __nv_bfloat16> gK, Rows<const __nv_bfloat16> gV,
                               Rows<const __nv_bfloat16> gDy, QueryScalars scalars, Rows<__nv_bfloat16> gDk,
                               Rows<__nv_bfloat16> gDv, float scale, Lengths n) {
  extern __shared__ __align__(128) unsigned char shared[];
  auto& s = *reinterpret_cast<DkDvShared<kD>*>(shared);
  constexpr int kN = kPass<kD>;
  const int a = blockIdx.y, b = blockIdx.z, first = blockIdx.x * kTile, row = threadIdx.x / 32 * 16;
  const int lane = threadIdx.x % 32;
  const float to_log2 = scale * kLog2E;
  const std::int64_t head = (std::int64_t(b) * n.heads + a) * padded(n.queries);
  auto load_tile = [&](int tile) {
    mma::load_async<kN, kD, kThreads>(s.q[tile % 2], gQ.head(b, a), gQ.stride, tile * kN, n.queries);
    mma::load_async<kN, kD, kThreads>(s.dy[tile % 2], gDy.head(b, a), gDy.stride, tile * kN, n.queries);
    mma::commit_async();
  };
  mma::load_async<kTile, kD, kThreads>(s.k, gK.head(b, a), gK.stride, first, n.keys);
  mma::load_async<kTile, kD, kThreads>(s.v, gV.head(b, a), gV.stride, first, n.keys);
  load_tile(0);

  mma::Acc dk[kD / 8] = {}, dv[kD / 8] = {};
  const int tiles = ceil_div(n.queries, kN);
  for (int tile = 0; tile < tiles; ++tile) {
    mma::wait_async();
    __syncthreads();
    if (tile + 1 < tiles) load_tile(tile + 1);
    const float* lse2 = scalars.gLse2 + head + tile * kN + lane % 4 * 2;
    const float* delta = scalars.gDelta + head + tile * kN + lane % 4 * 2;
    mma::Acc p[kN / 8], ds[kN / 8];  // rows are keys, columns queries
    mma::dot_rows<kD, kN>(p, s.k, row, s.q[tile % 2]);
    mma::dot_rows<kD, kN>(ds, s.v, row, s.dy[tile % 2]);
#pragma unroll
    for (int c = 0; c < kN / 8; ++c) {
      const float2 l = *reinterpret_cast<const float2*>(lse2 + 8 * c),
                   e = *reinterpret_cast<const float2*>(delta + 8 * c);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        p[c][2 * i] = exp2_approx(fmaf(p[c][2 * i], to_log2, -l.x));
        p[c][2 * i + 1] = exp2_approx(fmaf(p[c][2 * i + 1], to_log2, -l.y));
        ds[c][2 * i] = p[c][2 * i] * (ds[c][2 * i] - e.x);
        ds[c][2 * i + 1] = p[c][2 * i + 1] * (ds[c][2 * i + 1] - e.y);
      }
    }
    mma::weigh_rows<kD, kN>(dv, p, s.dy[tile % 2]);
    mma::weigh_rows<kD, kN>(dk, ds, s.q[tile % 2]);
  }
  mma::store_rows<kD>(dk, scale, scale, gDk.head(b, a), gDk.stride, first + row, n.keys);
  mma::store_rows<kD>(dv, 1, 1, gDv.head(b, a), gDv.stride, first + row, n.keys);
}

template <int kD>
struct DqShared {
  __nv_bfloat16 q[kTile * kD], dy[kTile * kD], k[2][kPass<kD> * kD], v[2][kPass<kD> * kD];
};

template <int kD>
__global__ void __launch_bounds__(kThreads)
    attention_dq_sm80_kernel(Rows<const __nv_bfloat16> gQ, Rows<const __nv_bfloat16> gK, Rows<const __nv_bfloat16> gV,
                             Rows<const __nv_bfloat16> gDy, QueryScalars scalars, Rows<__nv_bfloat16> gDq, float scale,
                             Lengths n) {
  extern __shared__ __align__(128) unsigned char shared[];
  auto& s = *reinterpret_cast<DqShared<kD>*>(shared);
  constexpr int kN = kPass<kD>;
  const int a = blockIdx.y, b = blockIdx.z, first = blockIdx.x * kTile, row = threadIdx.x / 32 * 16;
  const int lane = threadIdx.x % 32;
  const float to_log2 = scale * kLog2E;
  auto load_tile = [&](int tile) {
    mma::load_async<kN, kD, kThreads>(s.k[tile % 2], gK.head(b, a), gK.stride, tile * kN, n.keys);
    mma::load_async<kN, kD, kThreads>(s.v[tile % 2], gV.head(b, a), gV.stride, tile * kN, n.keys);
    mma::commit_async();
  };
  mma::load_async<kTile, kD, kThreads>(s.q, gQ.head(b, a), gQ.stride, first, n.queries);
  mma::load_async<kTile, kD, kThreads>(s.dy, gDy.head(b, a), gDy.stride, first, n.queries);
  load_tile(0);

  const std::int64_t t = (std::int64_t(b) * n.heads + a) * padded(n.queries) + first + row + lane / 4;
  const float lse2[2] = {scalars.gLse2[t], scalars.gLse2[t + 8]}, delta[2] = {scalars.gDelta[t], scalars.gDelta[t + 8]};
  mma::Acc dq[kD / 8] = {};
  const int tiles = ceil_div(n.keys, kN);
  for (int tile = 0; tile < tiles; ++tile) {
    mma::wait_async();
    __syncthreads();
    if (tile + 1 < tiles) load_tile(tile + 1);
    mma::Acc p[kN / 8], ds[kN / 8];
    mma::dot_rows<kD, kN>(p, s.q, row, s.k[tile % 2]);
    mma::dot_rows<kD, kN>(ds, s.dy, row, s.v[tile % 2]);
#pragma unroll
    for (int c = 0; c < kN / 8; ++c)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const bool valid = tile * kN + 8 * c + lane % 4 * 2 + e % 2 < n.keys;
        const float x = exp2_approx(fmaf(p[c][e], to_log2, -lse2[e / 2]));
        ds[c][e] = valid ? x * (ds[c][e] - delta[e / 2]) : 0.0f;
      }
    mma::weigh_rows<kD, kN>(dq, ds, s.k[tile % 2]);
  }
  mma::store_rows<kD>(dq, scale, scale, gDq.head(b, a), gDq.stride, first + row, n.queries);
}

}  // namespace mfl::cuda::sm80
