#include <algorithm>

#include "kernels/common/dispatch.h"
#include "kernels/elementwise/fit.h"

namespace mfl::cpu {

void fit(const Fit& a) {
  dispatch_float(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    const T* x = a.x.as<T>();
    T* y = a.y.as<T>();
    const int rank = a.y.shape.rank();
    const std::int64_t rows = a.y.shape.rows(), last = a.y.shape[-1], kept = std::min(last, a.x.shape[-1]);
#pragma omp parallel for
    for (std::int64_t r = 0; r < rows; ++r) {
      // The row's indices along the leading axes, and the row of x with the same ones.
      std::int64_t rest = r, source = 0, stride = 1;
      bool inside = true;
      for (int axis = rank - 2; axis >= 0; --axis) {
        const std::int64_t i = rest % a.y.shape[axis];
        rest /= a.y.shape[axis];
        inside = inside && i < a.x.shape[axis];
        source += i * stride;
        stride *= a.x.shape[axis];
      }
      for (std::int64_t c = 0; c < last; ++c)
        y[r * last + c] = inside && c < kept ? x[source * a.x.shape[-1] + c] : T(0.0);
    }
  });
}

}  // namespace mfl::cpu
