// A draw from a diagonal Gaussian.
//   Map        one thread an element of y.    Bound by   memory; latents are small.    Numerics   f32.    Deterministic: yes.
#include "kernels/common/launch.cuh"
#include "kernels/elementwise/posterior.h"

namespace mfl::cuda {
namespace {

constexpr int kThreads = 256;

template <class M, class T>
__global__ void __launch_bounds__(kThreads)
    sample_posterior_kernel(const M* __restrict__ gMoments, const float* __restrict__ gNoise, float scale, T* __restrict__ gY,
                            std::int64_t c, std::int64_t total) {
  const std::int64_t at = std::int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= total) return;
  const M* moments = gMoments + at / c * 2 * c + at % c;
  float value = to_float(moments[0]);
  if (gNoise) value = fmaf(expf(0.5f * fminf(fmaxf(to_float(moments[c]), -30.0f), 20.0f)), gNoise[at], value);
  gY[at] = from_float<T>(scale * value);
}

}  // namespace

void sample_posterior(const Stream& s, const SamplePosterior& a) {
  const std::int64_t total = a.y.numel();
  if (total == 0) return;
  dispatch_gpu("sample_posterior", a.moments.dtype, [&](auto from) {
    dispatch_gpu("sample_posterior", a.y.dtype, [&](auto to) {
      using M = decltype(from);
      using T = decltype(to);
      sample_posterior_kernel<<<unsigned(ceil_div(total, std::int64_t{kThreads})), kThreads, 0, native(s)>>>(
          pointer<M>(a.moments), pointer<float>(a.noise), float(a.scale), pointer<T>(a.y), a.y.shape[-1], total);
      check_launch("sample_posterior_kernel", s);
    });
  });
}

}  // namespace mfl::cuda
