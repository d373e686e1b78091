// Forward in bf16 for Hopper, head size 64.                                                 Shah et al. 2024, section 3
//
// A block owns 64 queries per consumer warpgroup; one more warpgroup copies tiles of keys and values into a ring of
// stages. A consumer issues the logits of tile j and, behind them, P V of tile j - 1; under the second it computes the
// exponentials of tile j. P and y never leave the registers.
#pragma once

#include "kernels/attention/sm90.cuh"
#include "kernels/attention/tiles.h"

namespace mfl::cuda::sm90 {

template <class Config>
struct FwdShared {
  static constexpr Tiles kT = Config::tiles;
  __nv_bfloat16 q[kT.rows() * kD];
  __nv_bfloat16 k[kT.stages][kT.pass * kD], v[kT.stages][kT.pass * kD];
  std::uint64_t q_full, k_full[kT.stages], v_full[kT.stages], empty[kT.stages];
};

#if MFL_SM90A
// The running maximum and sum of the two rows of a lane.
struct Softmax {
  float top[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};

  // Turns logits into exponentials relative to the new maximum; returns in `shrink` what older sums are to be
  // multiplied by.
  template <int kCount>
  __device__ void step(float (&p)[kCount], float to_log2, float (&shrink)[2]) {
    float high[2] = {top[0], top[1]};
#pragma unroll
    for (int c = 0; c < kCount; ++c) high[c / 2 % 2] = fmaxf(high[c / 2 % 2], p[c]);
    float offset[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      high[i] = fmaxf(high[i], __shfl_xor_sync(0xffffffffu, high[i], 1));
      high[i] = fmaxf(high[i], __shfl_xor_sync(0xffffffffu, high[i], 2));
      // A tile begins with a valid key, so high is finite.
      shrink[i] = exp2_approx((top[i] - high[i]) * to_log2);
      top[i] = high[i], sum[i] *= shrink[i], offset[i] = high[i] * to_log2;
    }
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
      p[c] = exp2_approx(fmaf(p[c], to_log2, -offset[c / 2 % 2]));
      sum[c / 2 % 2] += p[c];
    }
  }
};
#endif

template <class Config>
__global__ void MFL_SM90_BOUNDS(Config::tiles.threads())
    attention_fwd_sm90_kernel([[maybe_unused]] const __grid_constant__ CUtensorMap mapQ,
                              [[maybe_unused]] const __grid_constant__ CUtensorMap mapK,
                              [[maybe_unused]] const __grid_constant__ CUtensorMap mapV,
                              [[maybe_unused]] Rows<__nv_bfloat16> gY, [[maybe_unused]] float* __restrict__ gLse,
                              [[maybe_unused]] float scale, [[maybe_unused]] Lengths n) {
#if MFL_SM90A
  extern __shared__ __align__(1024) unsigned char shared[];
  auto& s = *reinterpret_cast<FwdShared<Config>*>(shared);
  constexpr Tiles kT = Config::tiles;
  const int a = blockIdx.y, b = blockIdx.z, first = blockIdx.x * kT.rows();
  const int tiles = ceil_div(n.keys, kT.pass);
  constexpr int kTileBytes = kT.pass * kRowBytes;
  if (threadIdx.x == 0) {
    barrier_init(s.q_full, 1);
    for (int i = 0; i < kT.stages; ++i) {
      barrier_init(s.k_full[i], 1), barrier_init(s.v_full[i], 1);
      barrier_init(s.empty[i], 4 * kT.groups);  // one arrival a consumer warp
    }
    barrier_init_visible();
  }
  __syncthreads();

  if (threadIdx.x < kGroup) {
    give_registers<kT.producer_registers()>();
    if (threadIdx.x == 0) {
      prefetch(mapQ), prefetch(mapK), prefetch(mapV);
      barrier_expect(s.q_full, kT.rows() * kRowBytes);
      load_tile(s.q, mapQ, first, a, b, s.q_full);
      for (int i = 0; i < tiles; ++i) {  // from the last tile to the first: only the first step has keys to mask
        const int tile = tiles - 1 - i, stage = i % kT.stages, round = i / kT.stages;
        barrier_wait(s.empty[stage], (round & 1) ^ 1);
        barrier_expect(s.k_full[stage], kTileBytes);
        load_tile(s.k[stage], mapK, tile * kT.pass, a, b, s.k_full[stage]);
        barrier_expect(s.v_full[stage], kTileBytes);
        load_tile(s.v[stage], mapV, tile * kT.pass, a, b, s.v_full[stage]);
      }
    }
  } else {
    take_registers<kT.consumer_registers()>();
    const int group = threadIdx.x / kGroup - 1, lane = threadIdx.x % 32;
    const int row = first + 64 * group + threadIdx.x % kGroup / 32 * 16 + lane / 4;
    const float to_log2 = scale * kLog2E;
    const std::uint64_t q = descriptor(s.q + 64 * group * kD);
    constexpr int kCount = kT.pass / 2;
    float y[32] = {}, p[kCount], shrink[2];
    std::uint32_t w[kCount / 8][4];
    Softmax softmax;
    barrier_wait(s.q_full, 0);
    barrier_wait(s.k_full[0], 0);
    wgmma_fence();
    dot_rows(p, q, descriptor(s.k[0]));
    wgmma_commit();
    wgmma_wait<0>();
    hold(p);
#pragma unroll
    for (int c = 0; c < kCount; ++c)
      if ((tiles - 1) * kT.pass + c / 4 * 8 + lane % 4 * 2 + c % 2 >= n.keys) p[c] = -INFINITY;
    softmax.step(p, to_log2, shrink);
    round_to(w, p);
    for (int i = 1; i < tiles; ++i) {
      const int stage = i % kT.stages, before = (i - 1) % kT.stages;
      barrier_wait(s.k_full[stage], i / kT.stages & 1);
      barrier_wait(s.v_full[before], (i - 1) / kT.stages & 1);
      wgmma_fence();
      dot_rows(p, q, descriptor(s.k[stage]));
      wgmma_commit();
      weigh_rows(y, w, descriptor(s.v[before]));
      wgmma_commit();
      wgmma_wait<1>();
      hold(p);
      softmax.step(p, to_log2, shrink);
      wgmma_wait<0>();
      hold(y);
      if (lane == 0) barrier_arrive(s.empty[before]);
      round_to(w, p);
#pragma unroll
      for (int c = 0; c < 32; ++c) y[c] *= shrink[c / 2 % 2];
    }
    const int last = (tiles - 1) % kT.stages;
    barrier_wait(s.v_full[last], (tiles - 1) / kT.stages & 1);
    wgmma_fence();
    weigh_rows(y, w, descriptor(s.v[last]));
    wgmma_commit();
    float(&sum)[2] = softmax.sum;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], 1);
      sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], 2);
      const int t = row + 8 * i;
      if (gLse && lane % 4 == 0 && t < n.queries)
        gLse[(std::int64_t(b) * n.heads + a) * n.queries + t] = softmax.top[i] * scale + logf(sum[i]);
    }
    wgmma_wait<0>();
    hold(y);
    store_rows(y, 1 / sum[0], 1 / sum[1], gY.head(b, a), gY.stride, row, n.queries);
  }
#endif
}

template <class Config>
void fwd(cudaStream_t stream, const AttentionFwd& a, float scale, Lengths n) {
  constexpr Tiles kT = Config::tiles;
  const auto kernel = attention_fwd_sm90_kernel<Config>;
  allow_shared(kernel, sizeof(FwdShared<Config>));
  const dim3 grid(unsigned(ceil_div(n.queries, kT.rows())), unsigned(n.heads), unsigned(a.q.shape[0]));
  kernel<<<grid, kT.threads(), sizeof(FwdShared<Config>), stream>>>(tensor_map(a.q, kT.rows()),
                                                                    tensor_map(a.k, kT.pass), tensor_map(a.v, kT.pass),
                                                                    rows<bf16>(a.y), pointer<float>(a.lse), scale, n);
}

}  // namespace mfl::cuda::sm90
