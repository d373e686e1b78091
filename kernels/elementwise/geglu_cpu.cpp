#include <cmath>
#include <numbers>

#include "kernels/common/dispatch.h"
#include "kernels/common/grad_write.h"
#include "kernels/elementwise/geglu.h"

namespace mfl::cpu {
namespace {

double normal_cdf(double x) { return 0.5 * (1 + std::erf(x / std::numbers::sqrt2)); }
double normal_density(double x) { return std::exp(-0.5 * x * x) / std::sqrt(2 * std::numbers::pi); }

}  // namespace

void geglu_fwd(const GegluFwd& a) {
  dispatch_float(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    const std::int64_t rows = a.x.shape.rows(), channels = a.y.shape[-1];
    const T* x = a.x.as<T>();
    T* y = a.y.as<T>();
#pragma omp parallel for
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t c = 0; c < channels; ++c) {
        const double value = double(x[r * 2 * channels + c]), gate = double(x[(r * 2 + 1) * channels + c]);
        y[r * channels + c] = T(value * gate * normal_cdf(gate));
      }
  });
}

void geglu_bwd(const GegluBwd& a) {
  dispatch_float(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    const std::int64_t rows = a.x.shape.rows(), channels = a.dy.shape[-1];
    const T *x = a.x.as<T>(), *dy = a.dy.as<T>();
    T* dx = a.dx.as<T>();
#pragma omp parallel for
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t c = 0; c < channels; ++c) {
        const double value = double(x[r * 2 * channels + c]), gate = double(x[(r * 2 + 1) * channels + c]);
        const double d = double(dy[r * channels + c]), cdf = normal_cdf(gate);
        grad_write(dx[r * 2 * channels + c], d * gate * cdf, a.dx_mode);
        grad_write(dx[(r * 2 + 1) * channels + c], d * value * (cdf + gate * normal_density(gate)), a.dx_mode);
      }
  });
}

}  // namespace mfl::cpu
