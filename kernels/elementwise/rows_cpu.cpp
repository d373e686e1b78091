#include "kernels/common/dispatch.h"
#include "kernels/common/grad_write.h"
#include "kernels/elementwise/rows.h"

namespace mfl::cpu {

void add_row_vector(const AddRowVector& a) {
  dispatch_float(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    T* x = a.x.as<T>();
    const T* v = a.v.as<T>();
    const std::int64_t channels = a.x.shape[1];
    for (std::int64_t r = 0; r < a.x.shape[0]; ++r)
      for (std::int64_t c = 0; c < channels; ++c) x[r * channels + c] = T(double(x[r * channels + c]) + double(v[c]));
  });
}

void sum_rows(const SumRows& a) {
  dispatch_float(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    const T* x = a.x.as<T>();
    T* sum = a.sum.as<T>();
    const std::int64_t channels = a.x.shape[1];
#pragma omp parallel for
    for (std::int64_t c = 0; c < channels; ++c) {
      double total = 0;
      for (std::int64_t r = 0; r < a.x.shape[0]; ++r) total += double(x[r * channels + c]);
      grad_write(sum[c], total, a.mode);
    }
  });
}

void accumulate(const Accumulate& a) {
  dispatch_float(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    const T* x = a.x.as<T>();
    T* y = a.y.as<T>();
    const std::int64_t n = a.y.numel();
    for (std::int64_t i = 0; i < n; ++i) y[i] = T(double(y[i]) + double(x[i]));
  });
}

}  // namespace mfl::cpu
