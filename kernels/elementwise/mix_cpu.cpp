#include "kernels/common/dispatch.h"
#include "kernels/elementwise/mix.h"

namespace mfl::cpu {
namespace {

double element(const ConstView& v, std::int64_t i) {
  if (v.dtype == DType::f64) return v.as<double>()[i];
  if (v.dtype == DType::f32) return double(v.as<float>()[i]);
  return double(v.as<bf16>()[i]);
}

}  // namespace

void mix(const Mix& a) {
  const std::int64_t samples = a.y.shape[0], size = samples == 0 ? 0 : a.y.numel() / samples;
  const std::int64_t terms = a.weights.shape[1], stride = a.weights.shape[0] == 1 ? 0 : terms;
  dispatch_float(a.y.dtype, [&](auto t) {
    using T = decltype(t);
    T* y = a.y.as<T>();
#pragma omp parallel for
    for (std::int64_t n = 0; n < samples; ++n)
      for (std::int64_t i = n * size; i < (n + 1) * size; ++i) {
        double sum = 0;
        for (std::int64_t k = 0; k < terms; ++k) {
          const double w = element(a.weights, n * stride + k);
          if (w != 0) sum += w * element(a.x[std::size_t(k)], i);
        }
        y[i] = T(sum);
      }
  });
}

}  // namespace mfl::cpu
