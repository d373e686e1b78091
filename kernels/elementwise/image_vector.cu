// A vector an image.
//   Map        add: kPack neighbouring channels of one pixel a thread. sum: a block owns 32 channels of one image; its eight
//              rows of threads walk the pixels, their sums are added in their order.
//   Bytes      add 2n + 2n, sum 2n (bf16).    Bound by   memory.    Numerics   f32.    Deterministic: yes.
#include <type_traits>

#include "kernels/common/launch.cuh"
#include "kernels/common/pack.cuh"
#include "kernels/elementwise/image_vector.h"

namespace mfl::cuda {
namespace {

constexpr int kThreads = 256, kRows = 8;

template <int kPack, class T>
__global__ void __launch_bounds__(kThreads)
    add_image_vector_kernel(T* __restrict__ gX, const T* __restrict__ gV, std::int64_t n, std::int64_t channels,
                            std::int64_t image) {
  const std::int64_t i = (std::int64_t(blockIdx.x) * kThreads + threadIdx.x) * kPack;
  if (i >= n) return;
  auto x = load_pack<kPack>(gX + i);
  const auto v = load_pack<kPack>(gV + i / image * channels + i % channels);
#pragma unroll
  for (int e = 0; e < kPack; ++e) x.v[e] = from_float<T>(to_float(x.v[e]) + to_float(v.v[e]));
  store_pack<kPack>(gX + i, x);
}

template <class T>
__global__ void __launch_bounds__(32 * kRows)
    sum_image_vector_kernel(const T* __restrict__ gDx, T* __restrict__ gDv, std::int64_t pixels, std::int64_t channels,
                            bool accumulate) {
  __shared__ float sSum[kRows][32];
  const std::int64_t c = blockIdx.x * std::int64_t(32) + threadIdx.x, n = blockIdx.y;
  float sum = 0;
  if (c < channels)
    for (std::int64_t p = threadIdx.y; p < pixels; p += kRows) sum += to_float(gDx[(n * pixels + p) * channels + c]);
  sSum[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || c >= channels) return;
#pragma unroll
  for (int i = 1; i < kRows; ++i) sum += sSum[i][threadIdx.x];
  T& slot = gDv[n * channels + c];
  slot = from_float<T>(accumulate ? to_float(slot) + sum : sum);
}

}  // namespace

void add_image_vector(const Stream& s, const AddImageVector& a) {
  const std::int64_t n = a.x.numel(), channels = a.v.shape[1];
  if (n == 0) return;
  dispatch_gpu("add_image_vector", a.x.dtype, [&](auto t) {
    using T = decltype(t);
    auto launch = [&](auto pack) {
      constexpr int kPack = decltype(pack)::value;
      add_image_vector_kernel<kPack><<<unsigned(ceil_div(n / kPack, kThreads)), kThreads, 0, native(s)>>>(
          pointer<T>(a.x), pointer<T>(a.v), n, channels, n / a.v.shape[0]);
      check_launch("add_image_vector_kernel", s);
    };
    constexpr int kFull = 16 / int(sizeof(T));
    if (channels % kFull == 0 && aligned16(a.x.data) && aligned16(a.v.data)) launch(std::integral_constant<int, kFull>{});
    else launch(std::integral_constant<int, 1>{});
  });
}

void sum_image_vector(const Stream& s, const SumImageVector& a) {
  const std::int64_t images = a.dv.shape[0], channels = a.dv.shape[1];
  if (a.dv.numel() == 0) return;
  dispatch_gpu("sum_image_vector", a.dx.dtype, [&](auto t) {
    using T = decltype(t);
    const dim3 grid(unsigned(ceil_div(channels, 32)), unsigned(images));
    sum_image_vector_kernel<<<grid, dim3(32, kRows), 0, native(s)>>>(pointer<T>(a.dx), pointer<T>(a.dv),
                                                                     a.dx.shape.rows() / images, channels,
                                                                     a.dv_mode == GradMode::accumulate);
    check_launch("sum_image_vector_kernel", s);
  });
}

}  // namespace mfl::cuda
