#include "kernels/common/dispatch.h"
#include "kernels/common/grad_write.h"
#include "kernels/elementwise/move_rows.h"

namespace mfl::cpu {

void move_rows(const MoveRows& a) {
  dispatch_float(a.y.dtype, [&](auto t) {
    using T = decltype(t);
    const std::int64_t rows = a.y.shape[0], channels = a.y.shape[1];
    const T* x = a.x.as<T>();
    T* y = a.y.as<T>();
#pragma omp parallel for
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t c = 0; c < channels; ++c)
        grad_write(y[r * a.y.stride[0] + c], double(x[r * a.x.stride[0] + c]), a.mode);
  });
}

}  // namespace mfl::cpu
