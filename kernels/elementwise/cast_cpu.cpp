#include "kernels/common/dispatch.h"
#include "kernels/elementwise/cast.h"

namespace mfl::cpu {

void cast(const Cast& a) {
  dispatch_float(a.x.dtype, [&](auto from) {
    dispatch_float(a.y.dtype, [&](auto to) {
      using X = decltype(from);
      using Y = decltype(to);
      const X* x = a.x.as<X>();
      Y* y = a.y.as<Y>();
      const std::int64_t n = a.x.numel();
#pragma omp parallel for
      for (std::int64_t i = 0; i < n; ++i) y[i] = Y(double(x[i]));
    });
  });
}

void add_(const Add& a) {
  dispatch_float(a.x.dtype, [&](auto from) {
    dispatch_float(a.y.dtype, [&](auto to) {
      using X = decltype(from);
      using Y = decltype(to);
      const X* x = a.x.as<X>();
      Y* y = a.y.as<Y>();
      const std::int64_t n = a.x.numel();
#pragma omp parallel for
      for (std::int64_t i = 0; i < n; ++i) y[i] = Y(double(y[i]) + a.factor * double(x[i]));
    });
  });
}

void scale_(const Scale& a) {
  dispatch_float(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    T* x = a.x.as<T>();
    const std::int64_t n = a.x.numel();
#pragma omp parallel for
    for (std::int64_t i = 0; i < n; ++i) x[i] = T(double(x[i]) * a.factor);
  });
}

void fill_(const Fill& a) {
  dispatch_float(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    T* x = a.x.as<T>();
    const std::int64_t n = a.x.numel();
#pragma omp parallel for
    for (std::int64_t i = 0; i < n; ++i) x[i] = T(a.value);
  });
}

}  // namespace mfl::cpu
