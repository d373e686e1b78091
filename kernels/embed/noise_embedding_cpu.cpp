#include <cmath>

#include "kernels/common/dispatch.h"
#include "kernels/embed/noise_embedding.h"

namespace mfl::cpu {
namespace {

// E: embedding; T: y; A: its accum type.
template <class E, class T, class A>
void run(const NoiseEmbedding& a) {
  const std::int64_t samples = a.y.shape[0], repeat = samples / a.embedding.shape[0], c = a.embedding.shape[1];
  const E* e = a.embedding.as<E>();
  const A *mean = a.mean.as<A>(), *std_ = a.std.as<A>(), *noise = a.noise.as<A>();
  T* y = a.y.as<T>();
  const double signal = std::sqrt(a.alpha_bar), spread = std::sqrt(1 - a.alpha_bar);
#pragma omp parallel for
  for (std::int64_t n = 0; n < samples; ++n) {
    const double keep = a.keep ? double(a.keep.as<A>()[n]) : 1.0;
    for (std::int64_t i = 0; i < c; ++i) {
      const double m = double(mean[i]);
      y[2 * n * c + i] = T(keep * (signal * (double(e[n / repeat * c + i]) - m) + m +
                                   spread * double(std_[i]) * double(noise[n * c + i])));
    }
    for (std::int64_t i = 0; i < c / 2; ++i) {
      const double angle = double(a.level) * std::exp(-std::log(10000.0) * 2 * double(i) / double(c));
      y[2 * n * c + c + i] = T(keep * std::cos(angle));
      y[2 * n * c + c + c / 2 + i] = T(keep * std::sin(angle));
    }
  }
}

}  // namespace

void noise_embedding(const NoiseEmbedding& a) {
  dispatch_float(a.embedding.dtype, [&](auto e) {
    using E = decltype(e);
    if (a.y.dtype == DType::f64) return run<E, double, double>(a);
    a.y.dtype == DType::f32 ? run<E, float, float>(a) : run<E, bf16, float>(a);
  });
}

}  // namespace mfl::cpu
