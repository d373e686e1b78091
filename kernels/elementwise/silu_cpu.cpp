#include <cmath>

#include "kernels/common/dispatch.h"
#include "kernels/common/grad_write.h"
#include "kernels/elementwise/silu.h"

namespace mfl::cpu {

void silu_fwd(const SiluFwd& a) {
  dispatch_float(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    const T* x = a.x.as<T>();
    T* y = a.y.as<T>();
#pragma omp parallel for
    for (std::int64_t i = 0; i < a.x.numel(); ++i) y[i] = T(double(x[i]) / (1 + std::exp(-double(x[i]))));
  });
}

void silu_bwd(const SiluBwd& a) {
  dispatch_float(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    const T *x = a.x.as<T>(), *dy = a.dy.as<T>();
    T* dx = a.dx.as<T>();
#pragma omp parallel for
    for (std::int64_t i = 0; i < a.x.numel(); ++i) {
      const double v = double(x[i]), s = 1 / (1 + std::exp(-v));
      grad_write(dx[i], double(dy[i]) * s * (1 + v * (1 - s)), a.dx_mode);
    }
  });
}

}  // namespace mfl::cpu
