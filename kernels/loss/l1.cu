// L1.
//   Map        forward: 16-byte packs, grid-stride; each block leaves a partial sum. backward: map.cuh.
//   Bytes      forward 2 sizeof(T) N, backward 3 sizeof(T) N.
//   Bound by   memory.    Numerics   f32.    Deterministic: yes.
#include "kernels/common/map.cuh"
#include "kernels/loss/l1.h"
#include "kernels/loss/sum_parts.cuh"

namespace mfl::cuda {
namespace {

template <class T>
__global__ void l1_partial_kernel(const T* __restrict__ gA, const T* __restrict__ gB, std::int64_t n, bool packed,
                                  float* __restrict__ gParts) {
  constexpr int kPack = 16 / int(sizeof(T));
  const std::int64_t step = std::int64_t(gridDim.x) * 256 * kPack;
  float sum = 0;
  for (std::int64_t i = (std::int64_t(blockIdx.x) * 256 + threadIdx.x) * kPack; i < n; i += step) {
    if (packed && i + kPack <= n) {
      const auto a = *reinterpret_cast<const Pack<T, kPack>*>(gA + i), b = *reinterpret_cast<const Pack<T, kPack>*>(gB + i);
#pragma unroll
      for (int j = 0; j < kPack; ++j) sum += fabsf(to_float(a.v[j]) - to_float(b.v[j]));
    } else {
      for (std::int64_t j = i; j < i + kPack && j < n; ++j) sum += fabsf(to_float(gA[j]) - to_float(gB[j]));
    }
  }
  sum = block_sum<256>(sum);
  if (threadIdx.x == 0) gParts[blockIdx.x] = sum;
}

struct Sign {
  float factor;
  __device__ float operator()(float a, float b, float before) const {
    return before + (a > b ? factor : a < b ? -factor : 0.0f);
  }
};

}  // namespace

void l1_fwd(const Stream& s, const L1Fwd& a) {
  const std::int64_t n = a.a.numel(), parts = l1_scratch(n);
  dispatch_gpu("l1_fwd", a.a.dtype, [&](auto t) {
    using T = decltype(t);
    l1_partial_kernel<<<unsigned(parts), 256, 0, native(s)>>>(pointer<T>(a.a), pointer<T>(a.b), n,
                                                             aligned16(a.a.data) && aligned16(a.b.data),
                                                             pointer<float>(a.scratch));
    check_launch("l1_partial_kernel", s);
  });
  sum_parts(s, pointer<float>(a.scratch), parts, a.scale, pointer<float>(a.loss), a.loss_mode == GradMode::accumulate);
}

void l1_bwd(const Stream& s, const L1Bwd& a) {
  dispatch_gpu("l1_bwd", a.a.dtype, [&](auto t) {
    using T = decltype(t);
    const Sign f{float(a.scale * a.weight)};
    if (a.da_mode == GradMode::accumulate)
      map<true>("l1_bwd", s, pointer<T>(a.a), pointer<T>(a.b), pointer<T>(a.da), a.a.numel(), f);
    else
      map<false>("l1_bwd", s, pointer<T>(a.a), pointer<T>(a.b), pointer<T>(a.da), a.a.numel(), f);
  });
}

}  // namespace mfl::cuda
