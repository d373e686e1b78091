// GEGLU.
//   Map        kPack neighbouring channels of one row a thread, 16-byte accesses where channels and pointers allow it; the
//              gate lies C elements behind the value.    Bytes   forward 4n + 2n, backward 4n + 2n + 4n (bf16, n outputs).
//   Bound by   memory.    Numerics   f32.    Deterministic: yes.
#include <type_traits>

#include "kernels/common/launch.cuh"
#include "kernels/common/pack.cuh"
#include "kernels/elementwise/geglu.h"

namespace mfl::cuda {
namespace {

constexpr int kThreads = 256;

__device__ inline float normal_cdf(float x) { return 0.5f * (1.0f + erff(x * 0.70710678f)); }
__device__ inline float normal_density(float x) { return 0.39894228f * expf(-0.5f * x * x); }

template <int kPack, class T>
__global__ void __launch_bounds__(kThreads)
    geglu_fwd_kernel(const T* __restrict__ gX, T* __restrict__ gY, std::int64_t n, std::int64_t channels) {
  const std::int64_t i = (std::int64_t(blockIdx.x) * kThreads + threadIdx.x) * kPack;
  if (i >= n) return;
  const std::int64_t r = i / channels, at = i + r * channels;  // 2 r C + c
  const auto value = load_pack<kPack>(gX + at), gate = load_pack<kPack>(gX + at + channels);
  Pack<T, kPack> y;
#pragma unroll
  for (int e = 0; e < kPack; ++e) {
    const float g = to_float(gate.v[e]);
    y.v[e] = from_float<T>(to_float(value.v[e]) * g * normal_cdf(g));
  }
  store_pack<kPack>(gY + i, y);
}

// gDx may be gX: a thread reads what it writes before it writes it.
template <int kPack, class T>
__global__ void __launch_bounds__(kThreads)
    geglu_bwd_kernel(const T* gX, const T* __restrict__ gDy, T* gDx, std::int64_t n, std::int64_t channels,
                     bool accumulate) {
  const std::int64_t i = (std::int64_t(blockIdx.x) * kThreads + threadIdx.x) * kPack;
  if (i >= n) return;
  const std::int64_t r = i / channels, at = i + r * channels;
  const auto value = load_pack<kPack>(gX + at), gate = load_pack<kPack>(gX + at + channels);
  const auto dy = load_pack<kPack>(gDy + i);
  Pack<T, kPack> dvalue{}, dgate{};
  if (accumulate) dvalue = load_pack<kPack>(gDx + at), dgate = load_pack<kPack>(gDx + at + channels);
#pragma unroll
  for (int e = 0; e < kPack; ++e) {
    const float v = to_float(value.v[e]), g = to_float(gate.v[e]), d = to_float(dy.v[e]), cdf = normal_cdf(g);
    const float dv = d * g * cdf, dg = d * v * (cdf + g * normal_density(g));
    dvalue.v[e] = from_float<T>(accumulate ? to_float(dvalue.v[e]) + dv : dv);
    dgate.v[e] = from_float<T>(accumulate ? to_float(dgate.v[e]) + dg : dg);
  }
  store_pack<kPack>(gDx + at, dvalue);
  store_pack<kPack>(gDx + at + channels, dgate);
}

// f(integral_constant<int, elements of 16 bytes>) where rows and pointers allow it, else f(integral_constant<int, 1>).
template <class T, class F>
void dispatch_pack(std::int64_t channels, bool aligned, F&& f) {
  constexpr int kFull = 16 / int(sizeof(T));
  if (aligned && channels % kFull == 0) f(std::integral_constant<int, kFull>{});
  else f(std::integral_constant<int, 1>{});
}

}  // namespace

void geglu_fwd(const Stream& s, const GegluFwd& a) {
  const std::int64_t n = a.y.numel(), channels = a.y.shape[-1];
  if (n == 0) return;
  dispatch_gpu("geglu_fwd", a.x.dtype, [&](auto t) {
    using T = decltype(t);
    dispatch_pack<T>(channels, aligned16(a.x.data) && aligned16(a.y.data), [&](auto pack) {
      constexpr int kPack = decltype(pack)::value;
      geglu_fwd_kernel<kPack><<<unsigned(ceil_div(n / kPack, kThreads)), kThreads, 0, native(s)>>>(
          pointer<T>(a.x), pointer<T>(a.y), n, channels);
      check_launch("geglu_fwd_kernel", s);
    });
  });
}

void geglu_bwd(const Stream& s, const GegluBwd& a) {
  const std::int64_t n = a.dy.numel(), channels = a.dy.shape[-1];
  if (n == 0) return;
  dispatch_gpu("geglu_bwd", a.x.dtype, [&](auto t) {
    using T = decltype(t);
    dispatch_pack<T>(channels, aligned16(a.x.data) && aligned16(a.dy.data) && aligned16(a.dx.data), [&](auto pack) {
      constexpr int kPack = decltype(pack)::value;
      geglu_bwd_kernel<kPack><<<unsigned(ceil_div(n / kPack, kThreads)), kThreads, 0, native(s)>>>(
          pointer<T>(a.x), pointer<T>(a.dy), pointer<T>(a.dx), n, channels, a.dx_mode == GradMode::accumulate);
      check_launch("geglu_bwd_kernel", s);
    });
  });
}

}  // namespace mfl::cuda
