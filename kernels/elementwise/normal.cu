// Normal draws.
//   Map        one thread a Philox block of a sample: four words, two neighbouring elements.
//   FLOPs      two logarithms, roots and cosines in f64 a thread; noise is a few MB a step.    Deterministic: yes.
//   Numerics   the formula of Rng::normal_at, in f64; a library's last bit can differ from the host's, which after
//              rounding to f32 is visible about once in 10^8 elements.
#include "kernels/common/launch.cuh"
#include "kernels/elementwise/normal.h"

namespace mfl::cuda {
namespace {

constexpr int kThreads = 256;

__device__ double box_muller(std::uint32_t a, std::uint32_t b) {
  const double u = (a + 1.0) / 4294967296.0, v = b / 4294967296.0;
  return sqrt(-2 * log(u)) * cos(6.283185307179586476925 * v);
}

// The counter of Rng::bits_at.
template <class T>
__global__ void __launch_bounds__(kThreads)
    fill_normal_kernel(T* gX, const std::int32_t* __restrict__ gStreams, std::int64_t size, std::int64_t pairs,
                       std::int64_t samples, std::uint32_t k0, std::uint32_t k1, std::uint64_t step) {
  const std::int64_t at = std::int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= samples * pairs) return;
  const std::int64_t n = at / pairs, block = at % pairs;
  const Philox4 r = philox(k0, k1, std::uint32_t(block),
                           std::uint32_t(std::uint64_t(block) >> 32) ^ std::uint32_t(step >> 32) * 0x85EBCA77u,
                           std::uint32_t(step), std::uint32_t(gStreams[n]));
  T* x = gX + n * size + 2 * block;
  x[0] = from_float<T>(float(box_muller(r.v[0], r.v[1])));
  if (2 * block + 1 < size) x[1] = from_float<T>(float(box_muller(r.v[2], r.v[3])));
}

}  // namespace

void fill_normal(const Stream& s, const FillNormal& a) {
  const std::int64_t samples = a.x.shape[0];
  if (a.x.numel() == 0) return;
  const std::int64_t size = a.x.numel() / samples, pairs = ceil_div(size, std::int64_t{2});
  // As Rng's constructor keys them.
  const std::uint32_t k0 = static_cast<std::uint32_t>(a.seed),
                      k1 = static_cast<std::uint32_t>(a.seed >> 32) ^ (static_cast<std::uint32_t>(a.purpose) * 0x9E3779B9u);
  dispatch_gpu("fill_normal", a.x.dtype, [&](auto t) {
    using T = decltype(t);
    fill_normal_kernel<<<unsigned(ceil_div(samples * pairs, std::int64_t{kThreads})), kThreads, 0, native(s)>>>(
        pointer<T>(a.x), static_cast<const std::int32_t*>(a.streams.data), size, pairs, samples, k0, k1, a.step);
    check_launch("fill_normal_kernel", s);
  });
}

}  // namespace mfl::cuda
