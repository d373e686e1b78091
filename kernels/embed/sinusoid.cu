// Sinusoidal embedding.
//   Map        one thread a cosine and its sine.    Bound by   latency: a few thousand numbers a step.
//   Numerics   f64.    Deterministic: yes.
#include "kernels/common/launch.cuh"
#include "kernels/embed/sinusoid.h"

namespace mfl::cuda {
namespace {

constexpr int kThreads = 256;

template <class N, class T>
__global__ void __launch_bounds__(kThreads)
    sinusoid_kernel(const N* __restrict__ gT, T* __restrict__ gY, std::int64_t n, std::int64_t half) {
  const std::int64_t at = std::int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= n * half) return;
  const std::int64_t r = at / half, i = at % half;
  const double angle = double(gT[r]) * exp(-9.210340371976182736 * double(i) / double(half));  // log 10000
  gY[r * 2 * half + i] = from_float<T>(float(cos(angle)));
  gY[r * 2 * half + half + i] = from_float<T>(float(sin(angle)));
}

}  // namespace

void sinusoid(const Stream& s, const Sinusoid& a) {
  const std::int64_t n = a.y.shape[0], half = a.y.shape[1] / 2;
  if (n * half == 0) return;
  dispatch_gpu("sinusoid", a.y.dtype, [&](auto t) {
    using T = decltype(t);
    const unsigned blocks = unsigned(ceil_div(n * half, std::int64_t{kThreads}));
    auto launch = [&](auto number) {
      using N = decltype(number);
      sinusoid_kernel<<<blocks, kThreads, 0, native(s)>>>(static_cast<const N*>(a.t.data), pointer<T>(a.y), n, half);
      check_launch("sinusoid_kernel", s);
    };
    if (a.t.dtype == DType::i32) launch(std::int32_t{});
    else if (a.t.dtype == DType::f32) launch(float{});
    else launch(double{});
  });
}

}  // namespace mfl::cuda
