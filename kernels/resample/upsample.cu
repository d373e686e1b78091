// Nearest-neighbour enlargement by two.
//   Map        kPack neighbouring channels of one pixel of x a thread: forward stores them four times, backward sums four.
//   Bytes      2n + 8n either way (bf16, n elements of x).    Bound by   memory.    Numerics   f32.    Deterministic: yes.
#include <type_traits>

#include "kernels/common/launch.cuh"
#include "kernels/common/pack.cuh"
#include "kernels/resample/upsample.h"

namespace mfl::cuda {
namespace {

constexpr int kThreads = 256;

// The first of the four pixels that element i of x becomes, at i's channel.
__device__ inline std::int64_t enlarged(std::int64_t i, std::int64_t width, std::int64_t channels) {
  const std::int64_t row = i / (width * channels), in_row = i % (width * channels);  // rows of all images
  const std::int64_t w = in_row / channels, c = in_row % channels;
  return (2 * row * 2 * width + 2 * w) * channels + c;
}

template <int kPack, class T>
__global__ void __launch_bounds__(kThreads)
    upsample2x_fwd_kernel(const T* __restrict__ gX, T* __restrict__ gY, std::int64_t n, std::int64_t width,
                          std::int64_t channels) {
  const std::int64_t i = (std::int64_t(blockIdx.x) * kThreads + threadIdx.x) * kPack;
  if (i >= n) return;
  const auto x = load_pack<kPack>(gX + i);
  T* y = gY + enlarged(i, width, channels);
  store_pack<kPack>(y, x);
  store_pack<kPack>(y + channels, x);
  store_pack<kPack>(y + 2 * width * channels, x);
  store_pack<kPack>(y + (2 * width + 1) * channels, x);
}

template <int kPack, class T>
__global__ void __launch_bounds__(kThreads)
    upsample2x_bwd_kernel(const T* __restrict__ gDy, T* __restrict__ gDx, std::int64_t n, std::int64_t width,
                          std::int64_t channels, bool accumulate) {
  const std::int64_t i = (std::int64_t(blockIdx.x) * kThreads + threadIdx.x) * kPack;
  if (i >= n) return;
  const T* dy = gDy + enlarged(i, width, channels);
  const auto a = load_pack<kPack>(dy), b = load_pack<kPack>(dy + channels);
  const auto c = load_pack<kPack>(dy + 2 * width * channels), d = load_pack<kPack>(dy + (2 * width + 1) * channels);
  Pack<T, kPack> dx{};
  if (accumulate) dx = load_pack<kPack>(gDx + i);
#pragma unroll
  for (int e = 0; e < kPack; ++e) {
    const float sum = (to_float(a.v[e]) + to_float(b.v[e])) + (to_float(c.v[e]) + to_float(d.v[e]));
    dx.v[e] = from_float<T>(accumulate ? to_float(dx.v[e]) + sum : sum);
  }
  store_pack<kPack>(gDx + i, dx);
}

template <class T, class F>
void dispatch_pack(std::int64_t channels, bool aligned, F&& f) {
  constexpr int kFull = 16 / int(sizeof(T));
  if (aligned && channels % kFull == 0) f(std::integral_constant<int, kFull>{});
  else f(std::integral_constant<int, 1>{});
}

}  // namespace

void upsample2x_fwd(const Stream& s, const Upsample2xFwd& a) {
  const std::int64_t n = a.x.numel(), channels = a.x.shape[3];
  if (n == 0) return;
  dispatch_gpu("upsample2x_fwd", a.x.dtype, [&](auto t) {
    using T = decltype(t);
    dispatch_pack<T>(channels, aligned16(a.x.data) && aligned16(a.y.data), [&](auto pack) {
      constexpr int kPack = decltype(pack)::value;
      upsample2x_fwd_kernel<kPack><<<unsigned(ceil_div(n / kPack, kThreads)), kThreads, 0, native(s)>>>(
          pointer<T>(a.x), pointer<T>(a.y), n, a.x.shape[2], channels);
      check_launch("upsample2x_fwd_kernel", s);
    });
  });
}

void upsample2x_bwd(const Stream& s, const Upsample2xBwd& a) {
  const std::int64_t n = a.dx.numel(), channels = a.dx.shape[3];
  if (n == 0) return;
  dispatch_gpu("upsample2x_bwd", a.dx.dtype, [&](auto t) {
    using T = decltype(t);
    dispatch_pack<T>(channels, aligned16(a.dy.data) && aligned16(a.dx.data), [&](auto pack) {
      constexpr int kPack = decltype(pack)::value;
      upsample2x_bwd_kernel<kPack><<<unsigned(ceil_div(n / kPack, kThreads)), kThreads, 0, native(s)>>>(
          pointer<T>(a.dy), pointer<T>(a.dx), n, a.dx.shape[2], channels, a.dx_mode == GradMode::accumulate);
      check_launch("upsample2x_bwd_kernel", s);
    });
  });
}

}  // namespace mfl::cuda
