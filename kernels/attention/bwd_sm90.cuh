// Backward in bf16 for Hopper, head size 64, in two kernels that both recompute P from lse: one owns keys and passes
// over the queries (dk, dv), one owns queries and passes over the keys (dq). Every sum has one owner, hence a fixed
// order.
//
// Both compute the logits with the owned rows as the rows of the accumulator, so that P and dS become, in registers,
// the left operand of the products that follow; nothing but q, k, v and dy passes through shared memory.
#pragma once

#include "kernels/attention/mma.cuh"
#include "kernels/attention/sm90.cuh"
#include "kernels/attention/tiles.h"

namespace mfl::cuda::sm90 {

#if MFL_SM90A
// The owned 64 x 64 operand of a warpgroup: where it lies, or itself.
template <bool kInRegisters>
struct Owned {
  std::uint64_t at;
  __device__ void load(const __nv_bfloat16* s) { at = descriptor(s); }
};
template <>
struct Owned<true> {
  std::uint32_t at[kD / 16][4];
  __device__ void load(const __nv_bfloat16* s) {
    const int row = threadIdx.x % kGroup / 32 * 16 + threadIdx.x % 16;
#pragma unroll
    for (int k = 0; k < kD / 16; ++k)
      mma::load_matrices(at[k], s + mma::swizzled<kD>(row, 2 * k + threadIdx.x % 32 / 16));
  }
};
#endif

template <class Config>
struct DkDvShared {
  static constexpr Tiles kT = Config::tiles;
  __nv_bfloat16 k[kT.rows() * kD], v[kT.rows() * kD];
  __nv_bfloat16 q[kT.stages][kT.pass * kD], dy[kT.stages][kT.pass * kD];
  float lse2[kT.stages][kT.pass], delta[kT.stages][kT.pass];
  std::uint64_t owned, full[kT.stages], empty[kT.stages];
};

template <class Config>
__global__ void MFL_SM90_BOUNDS(Config::tiles.threads())
    attention_dkdv_sm90_kernel([[maybe_unused]] const __grid_constant__ CUtensorMap mapQ,
                               [[maybe_unused]] const __grid_constant__ CUtensorMap mapK,
                               [[maybe_unused]] const __grid_constant__ CUtensorMap mapV,
                               [[maybe_unused]] const __grid_constant__ CUtensorMap mapDy,
                               [[maybe_unused]] QueryScalars scalars, [[maybe_unused]] Rows<__nv_bfloat16> gDk,
                               [[maybe_unused]] Rows<__nv_bfloat16> gDv, [[maybe_unused]] float scale,
                               [[maybe_unused]] Lengths n) {
#if MFL_SM90A
  extern __shared__ __align__(1024) unsigned char shared[];
  auto& s = *reinterpret_cast<DkDvShared<Config>*>(shared);
  constexpr Tiles kT = Config::tiles;
  static_assert(kT.pass <= 128 && 128 % kT.pass == 0, "the scalars of queries are padded to 128");
  const int a = blockIdx.y, b = blockIdx.z, first = blockIdx.x * kT.rows();
  const int tiles = ceil_div(n.queries, kT.pass);
  if (threadIdx.x == 0) {
    barrier_init(s.owned, 1);
    for (int i = 0; i < kT.stages; ++i) barrier_init(s.full[i], 1), barrier_init(s.empty[i], 4 * kT.groups);
    barrier_init_visible();
  }
  __syncthreads();

  if (threadIdx.x < kGroup) {
    give_registers<kT.producer_registers()>();
    if (threadIdx.x == 0) {
      prefetch(mapQ), prefetch(mapK), prefetch(mapV), prefetch(mapDy);
      barrier_expect(s.owned, 2 * kT.rows() * kRowBytes);
      load_tile(s.k, mapK, first, a, b, s.owned);
      load_tile(s.v, mapV, first, a, b, s.owned);
      const std::int64_t head = (std::int64_t(b) * n.heads + a) * padded(n.queries);
      constexpr int kScalarBytes = kT.pass * int(sizeof(float));
      for (int tile = 0; tile < tiles; ++tile) {
        const int stage = tile % kT.stages, round = tile / kT.stages;
        barrier_wait(s.empty[stage], (round & 1) ^ 1);
        barrier_expect(s.full[stage], 2 * kT.pass * kRowBytes + 2 * kScalarBytes);
        load_tile(s.q[stage], mapQ, tile * kT.pass, a, b, s.full[stage]);
        load_bytes(s.lse2[stage], scalars.gLse2 + head + tile * kT.pass, kScalarBytes, s.full[stage]);
        load_tile(s.dy[stage], mapDy, tile * kT.pass, a, b, s.full[stage]);
        load_bytes(s.delta[stage], scalars.gDelta + head + tile * kT.pass, kScalarBytes, s.full[stage]);
      }
    }
  } else {
    take_registers<kT.consumer_registers()>();
    const int group = threadIdx.x / kGroup - 1, lane = threadIdx.x % 32;
    const int row = first + 64 * group + threadIdx.x % kGroup / 32 * 16 + lane / 4;
    const float to_log2 = scale * kLog2E;
    constexpr int kCount = kT.pass / 2;
    float dk[32] = {}, dv[32] = {}, p[kCount], ds[kCount];  // p, ds: rows are keys, columns queries
    std::uint32_t wP[kCount / 8][4], wDs[kCount / 8][4];
    barrier_wait(s.owned, 0);
    Owned<kT.registers> k, v;
    k.load(s.k + 64 * group * kD), v.load(s.v + 64 * group * kD);
    for (int tile = 0; tile < tiles; ++tile) {
      const int stage = tile % kT.stages;
      const std::uint64_t q = descriptor(s.q[stage]), dy = descriptor(s.dy[stage]);
      barrier_wait(s.full[stage], tile / kT.stages & 1);
      wgmma_fence();
      dot_rows(p, k.at, q);
      wgmma_commit();
      dot_rows(ds, v.at, dy);
      wgmma_commit();
      wgmma_wait<1>();
      hold(p);
      const float2* lse2 = reinterpret_cast<const float2*>(s.lse2[stage]) + lane % 4;
#pragma unroll
      for (int j = 0; j < kCount / 4; ++j) {
        const float2 l = lse2[4 * j];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          p[4 * j + 2 * i] = exp2_approx(fmaf(p[4 * j + 2 * i], to_log2, -l.x));
          p[4 * j + 2 * i + 1] = exp2_approx(fmaf(p[4 * j + 2 * i + 1], to_log2, -l.y));
        }
      }
      round_to(wP, p);
      wgmma_fence();
      weigh_rows(dv, wP, dy);
      wgmma_commit();
      wgmma_wait<1>();
      hold(ds);
      const float2* delta = reinterpret_cast<const float2*>(s.delta[stage]) + lane % 4;
#pragma unroll
      for (int j = 0; j < kCount / 4; ++j) {
        const float2 e = delta[4 * j];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          ds[4 * j + 2 * i] = p[4 * j + 2 * i] * (ds[4 * j + 2 * i] - e.x);
          ds[4 * j + 2 * i + 1] = p[4 * j + 2 * i + 1] * (ds[4 * j + 2 * i + 1] - e.y);
        }
      }
      round_to(wDs, ds);
      wgmma_fence();
      weigh_rows(dk, wDs, q);
      wgmma_commit();
      wgmma_wait<0>();
      hold(dk), hold(dv);
      if (lane == 0) barrier_arrive(s.empty[stage]);
    }
    store_rows(dk, scale, scale, gDk.head(b, a), gDk.stride, row, n.keys);
    store_rows(dv, 1, 1, gDv.head(b, a), gDv.stride, row, n.keys);
  }
#endif
}

template <class Config>
struct DqShared {
  static constexpr Tiles kT = Config::tiles;
  __nv_bfloat16 q[kT.rows() * kD], dy[kT.rows() * kD];
  __nv_bfloat16 k[kT.stages][kT.pass * kD], v[kT.stages][kT.pass * kD];
  std::uint64_t owned, full[kT.stages], empty[kT.stages];
};

template <class Config>
__global__ void MFL_SM90_BOUNDS(Config::tiles.threads())
    attention_dq_sm90_kernel([[maybe_unused]] const __grid_constant__ CUtensorMap mapQ,
                             [[maybe_unused]] const __grid_constant__ CUtensorMap mapK,
                             [[maybe_unused]] const __grid_constant__ CUtensorMap mapV,
                             [[maybe_unused]] const __grid_constant__ CUtensorMap mapDy,
                             [[maybe_unused]] QueryScalars scalars, [[maybe_unused]] Rows<__nv_bfloat16> gDq,
                             [[maybe_unused]] float scale, [[maybe_unused]] Lengths n) {
#if MFL_SM90A
  extern __shared__ __align__(1024) unsigned char shared[];
  auto& s = *reinterpret_cast<DqShared<Config>*>(shared);
  constexpr Tiles kT = Config::tiles;
  const int a = blockIdx.y, b = blockIdx.z, first = blockIdx.x * kT.rows();
  const int tiles = ceil_div(n.keys, kT.pass);
  if (threadIdx.x == 0) {
    barrier_init(s.owned, 1);
    for (int i = 0; i < kT.stages; ++i) barrier_init(s.full[i], 1), barrier_init(s.empty[i], 4 * kT.groups);
    barrier_init_visible();
  }
  __syncthreads();

  if (threadIdx.x < kGroup) {
    give_registers<kT.producer_registers()>();
    if (threadIdx.x == 0) {
      prefetch(mapQ), prefetch(mapK), prefetch(mapV), prefetch(mapDy);
      barrier_expect(s.owned, 2 * kT.rows() * kRowBytes);
      load_tile(s.q, mapQ, first, a, b, s.owned);
      load_tile(s.dy, mapDy, first, a, b, s.owned);
      for (int i = 0; i < tiles; ++i) {  // from the last tile to the first: only the first step has keys to mask
        const int tile = tiles - 1 - i, stage = i % kT.stages, round = i / kT.stages;
        barrier_wait(s.empty[stage], (round & 1) ^ 1);
        barrier_expect(s.full[stage], 2 * kT.pass * kRowBytes);
        load_tile(s.k[stage], mapK, tile * kT.pass, a, b, s.full[stage]);
        load_tile(s.v[stage], mapV, tile * kT.pass, a, b, s.full[stage]);
      }
    }
  } else {
    take_registers<kT.consumer_registers()>();
    const int group = threadIdx.x / kGroup - 1, lane = threadIdx.x % 32;
    const int row = first + 64 * group + threadIdx.x % kGroup / 32 * 16 + lane / 4;
    const float to_log2 = scale * kLog2E;
    constexpr int kCount = kT.pass / 2;
    float dq[32] = {}, p[kCount], ds[kCount], lse2[2] = {INFINITY, INFINITY}, delta[2] = {};
    std::uint32_t w[kCount / 8][4];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const std::int64_t t = (std::int64_t(b) * n.heads + a) * padded(n.queries) + row + 8 * i;
      if (row + 8 * i < n.queries) lse2[i] = scalars.gLse2[t], delta[i] = scalars.gDelta[t];
    }
    barrier_wait(s.owned, 0);
    Owned<kT.registers> q, dy;
    q.load(s.q + 64 * group * kD), dy.load(s.dy + 64 * group * kD);
    auto step = [&](int i, bool mask) {
      const int stage = i % kT.stages;
      const std::uint64_t k = descriptor(s.k[stage]);
      barrier_wait(s.full[stage], i / kT.stages & 1);
      wgmma_fence();
      dot_rows(p, q.at, k);
      wgmma_commit();
      dot_rows(ds, dy.at, descriptor(s.v[stage]));
      wgmma_commit();
      wgmma_wait<1>();
      hold(p);
#pragma unroll
      for (int c = 0; c < kCount; ++c) p[c] = exp2_approx(fmaf(p[c], to_log2, -lse2[c / 2 % 2]));
      wgmma_wait<0>();
      hold(ds);
#pragma unroll
      for (int c = 0; c < kCount; ++c) {
        ds[c] = p[c] * (ds[c] - delta[c / 2 % 2]);
        if (mask && (tiles - 1) * kT.pass + c / 4 * 8 + lane % 4 * 2 + c % 2 >= n.keys) ds[c] = 0;
      }
      round_to(w, ds);
      wgmma_fence();
      weigh_rows(dq, w, k);
      wgmma_commit();
      wgmma_wait<0>();
      hold(dq);
      if (lane == 0) barrier_arrive(s.empty[stage]);
    };
    step(0, true);
    for (int i = 1; i < tiles; ++i) step(i, false);
    store_rows(dq, scale, scale, gDq.head(b, a), gDq.stride, row, n.queries);
  }
#endif
}

template <class Config>
void dkdv(cudaStream_t stream, const AttentionBwd& a, float scale, Lengths n) {
  constexpr Tiles kT = Config::tiles;
  const auto kernel = attention_dkdv_sm90_kernel<Config>;
  allow_shared(kernel, sizeof(DkDvShared<Config>));
  const dim3 grid(unsigned(ceil_div(n.keys, kT.rows())), unsigned(n.heads), unsigned(a.q.shape[0]));
  kernel<<<grid, kT.threads(), sizeof(DkDvShared<Config>), stream>>>(
      tensor_map(a.q, kT.pass), tensor_map(a.k, kT.rows()), tensor_map(a.v, kT.rows()), tensor_map(a.dy, kT.pass),
      query_scalars(a.scratch), rows<bf16>(a.dk), rows<bf16>(a.dv), scale, n);
}

template <class Config>
void dq(cudaStream_t stream, const AttentionBwd& a, float scale, Lengths n) {
  constexpr Tiles kT = Config::tiles;
  const auto kernel = attention_dq_sm90_kernel<Config>;
  allow_shared(kernel, sizeof(DqShared<Config>));
  const dim3 grid(unsigned(ceil_div(n.queries, kT.rows())), unsigned(n.heads), unsigned(a.q.shape[0]));
  kernel<<<grid, kT.threads(), sizeof(DqShared<Config>), stream>>>(
      tensor_map(a.q, kT.rows()), tensor_map(a.k, kT.pass), tensor_map(a.v, kT.pass), tensor_map(a.dy, kT.rows()),
      query_scalars(a.scratch), rows<bf16>(a.dq), scale, n);
}

}  // namespace mfl::cuda::sm90
