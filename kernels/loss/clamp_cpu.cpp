#include <algorithm>

#include "kernels/common/dispatch.h"
#include "kernels/common/grad_write.h"
#include "kernels/loss/clamp.h"

namespace mfl::cpu {

void clamp_fwd(const ClampFwd& a) {
  dispatch_float(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    const T* x = a.x.as<T>();
    T* y = a.y.as<T>();
#pragma omp parallel for
    for (std::int64_t i = 0; i < a.x.numel(); ++i) y[i] = T(std::min(std::max(double(x[i]), a.low), a.high));
  });
}

void clamp_bwd(const ClampBwd& a) {
  dispatch_float(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    const T *x = a.x.as<T>(), *dy = a.dy.as<T>();
    T* dx = a.dx.as<T>();
#pragma omp parallel for
    for (std::int64_t i = 0; i < a.x.numel(); ++i)
      grad_write(dx[i], a.low <= double(x[i]) && double(x[i]) <= a.high ? double(dy[i]) : 0.0, a.dx_mode);
  });
}

}  // namespace mfl::cpu
