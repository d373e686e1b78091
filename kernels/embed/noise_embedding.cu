// The class vector.
//   Map        one thread an element of y.    Bound by   latency: 48 samples of 2048 numbers.    Deterministic: yes.
//   Numerics   f32; the sinusoid in f64, so that a large level costs no digits.
#include <cmath>

#include "kernels/common/launch.cuh"
#include "kernels/embed/noise_embedding.h"

namespace mfl::cuda {
namespace {

constexpr int kThreads = 256;

template <class E, class T>
__global__ void __launch_bounds__(kThreads)
    noise_embedding_kernel(const E* __restrict__ gEmbedding, const float* __restrict__ gMean, const float* __restrict__ gStd,
                           const float* __restrict__ gNoise, const float* __restrict__ gKeep, float signal, float spread,
                           double level, T* __restrict__ gY, std::int64_t repeat, std::int64_t c, std::int64_t total) {
  const std::int64_t at = std::int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= total) return;
  const std::int64_t n = at / (2 * c), i = at % (2 * c);
  const float keep = gKeep ? gKeep[n] : 1.0f;
  float value;
  if (i < c) {
    const float m = gMean[i];
    value = signal * (to_float(gEmbedding[n / repeat * c + i]) - m) + m + spread * gStd[i] * gNoise[n * c + i];
  } else {
    const std::int64_t j = (i - c) % (c / 2);
    const double angle = level * exp(-9.210340371976182736 * 2 * double(j) / double(c));   // log 10000
    value = float(i - c < c / 2 ? cos(angle) : sin(angle));
  }
  gY[at] = from_float<T>(keep * value);
}

}  // namespace

void noise_embedding(const Stream& s, const NoiseEmbedding& a) {
  const std::int64_t total = a.y.numel();
  if (total == 0) return;
  dispatch_gpu("noise_embedding", a.embedding.dtype, [&](auto from) {
    dispatch_gpu("noise_embedding", a.y.dtype, [&](auto to) {
      using E = decltype(from);
      using T = decltype(to);
      noise_embedding_kernel<<<unsigned(ceil_div(total, std::int64_t{kThreads})), kThreads, 0, native(s)>>>(
          pointer<E>(a.embedding), pointer<float>(a.mean), pointer<float>(a.std), pointer<float>(a.noise),
          pointer<float>(a.keep), float(std::sqrt(a.alpha_bar)), float(std::sqrt(1 - a.alpha_bar)), double(a.level), pointer<T>(a.y),
          a.y.shape[0] / a.embedding.shape[0], a.embedding.shape[1], total);
      check_launch("noise_embedding_kernel", s);
    });
  });
}

}  // namespace mfl::cuda
