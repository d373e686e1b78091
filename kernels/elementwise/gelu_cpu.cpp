#include <cmath>

#include "kernels/common/dispatch.h"
#include "kernels/common/grad_write.h"
#include "kernels/elementwise/gelu.h"

namespace mfl::cpu {
namespace {

double cdf(double x) { return 0.5 * (1 + std::erf(x * 0.70710678118654752440)); }
double pdf(double x) { return 0.39894228040143267794 * std::exp(-0.5 * x * x); }

}  // namespace

void gelu_fwd(const GeluFwd& a) {
  dispatch_float(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    const T* x = a.x.as<T>();
    T* y = a.y.as<T>();
    const std::int64_t n = a.x.numel();
#pragma omp parallel for
    for (std::int64_t i = 0; i < n; ++i) y[i] = T(double(x[i]) * cdf(double(x[i])));
  });
}

void gelu_bwd(const GeluBwd& a) {
  dispatch_float(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    const T *x = a.x.as<T>(), *dy = a.dy.as<T>();
    T* dx = a.dx.as<T>();
    const std::int64_t n = a.x.numel();
#pragma omp parallel for
    for (std::int64_t i = 0; i < n; ++i) {
      const double v = double(x[i]);
      grad_write(dx[i], double(dy[i]) * (cdf(v) + v * pdf(v)), a.dx_mode);
    }
  });
}

}  // namespace mfl::cpu
