// Rows between matrices of different row strides.
//   Map        kPack neighbouring values of one row a thread, 16-byte accesses where widths, strides and pointers allow it.
//   Bytes      2n + 2n (bf16; 2n more to accumulate).    Bound by   memory.    Deterministic: yes.
#include <type_traits>

#include "kernels/common/launch.cuh"
#include "kernels/common/pack.cuh"
#include "kernels/elementwise/move_rows.h"

namespace mfl::cuda {
namespace {

constexpr int kThreads = 256;

template <int kPack, class T>
__global__ void __launch_bounds__(kThreads)
    move_rows_kernel(const T* __restrict__ gX, T* __restrict__ gY, std::int64_t n, std::int64_t channels,
                     std::int64_t stride_x, std::int64_t stride_y, bool accumulate) {
  const std::int64_t i = (std::int64_t(blockIdx.x) * kThreads + threadIdx.x) * kPack;
  if (i >= n) return;
  const std::int64_t r = i / channels, c = i % channels;
  auto x = load_pack<kPack>(gX + r * stride_x + c);
  if (accumulate) {
    const auto y = load_pack<kPack>(gY + r * stride_y + c);
#pragma unroll
    for (int e = 0; e < kPack; ++e) x.v[e] = from_float<T>(to_float(y.v[e]) + to_float(x.v[e]));
  }
  store_pack<kPack>(gY + r * stride_y + c, x);
}

}  // namespace

void move_rows(const Stream& s, const MoveRows& a) {
  const std::int64_t n = a.y.numel(), channels = a.y.shape[1];
  if (n == 0) return;
  dispatch_gpu("move_rows", a.y.dtype, [&](auto t) {
    using T = decltype(t);
    const std::int64_t stride_x = a.x.stride[0], stride_y = a.y.stride[0];
    auto launch = [&](auto pack) {
      constexpr int kPack = decltype(pack)::value;
      move_rows_kernel<kPack><<<unsigned(ceil_div(n / kPack, kThreads)), kThreads, 0, native(s)>>>(
          pointer<T>(a.x), pointer<T>(a.y), n, channels, stride_x, stride_y, a.mode == GradMode::accumulate);
      check_launch("move_rows_kernel", s);
    };
    constexpr int kFull = 16 / int(sizeof(T));
    const bool packed = channels % kFull == 0 && stride_x % kFull == 0 && stride_y % kFull == 0 && aligned16(a.x.data) &&
                        aligned16(a.y.data);
    if (packed) launch(std::integral_constant<int, kFull>{});
    else launch(std::integral_constant<int, 1>{});
  });
}

}  // namespace mfl::cuda
