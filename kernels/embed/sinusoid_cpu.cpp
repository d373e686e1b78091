#include <cmath>

#include "kernels/common/dispatch.h"
#include "kernels/embed/sinusoid.h"

namespace mfl::cpu {
namespace {

double number(const ConstView& t, std::int64_t n) {
  if (t.dtype == DType::i32) return double(t.as<std::int32_t>()[n]);
  return t.dtype == DType::f32 ? double(t.as<float>()[n]) : t.as<double>()[n];
}

}  // namespace

void sinusoid(const Sinusoid& a) {
  dispatch_float(a.y.dtype, [&](auto u) {
    using T = decltype(u);
    const std::int64_t half = a.y.shape[1] / 2;
    T* y = a.y.as<T>();
    for (std::int64_t n = 0; n < a.y.shape[0]; ++n)
      for (std::int64_t i = 0; i < half; ++i) {
        const double angle = number(a.t, n) * std::exp(-std::log(10000.0) * double(i) / double(half));
        y[n * 2 * half + i] = T(std::cos(angle));
        y[n * 2 * half + half + i] = T(std::sin(angle));
      }
  });
}

}  // namespace mfl::cpu
