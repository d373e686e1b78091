#include <cmath>

#include "kernels/common/dispatch.h"
#include "kernels/elementwise/bytes.h"

namespace mfl::cpu {

// The product with 255 is made in x's own type, as the pipeline's is.
void to_bytes(const ToBytes& a) {
  auto run = [&](auto type) {
    using T = decltype(type);
    const T* x = a.x.as<T>();
    std::uint8_t* y = a.y.as<std::uint8_t>();
    const std::int64_t n = a.x.numel();
#pragma omp parallel for
    for (std::int64_t i = 0; i < n; ++i) {
      const T v = x[i] > T(0) ? (x[i] < T(1) ? x[i] : T(1)) * T(255) : T(0);
      y[i] = static_cast<std::uint8_t>(a.round ? std::nearbyint(v) : v);
    }
  };
  a.x.dtype == DType::f64 ? run(double{}) : run(float{});
}

void from_bytes(const FromBytes& a) {
  auto run = [&](auto type) {
    using T = decltype(type);
    const std::uint8_t* x = a.x.as<std::uint8_t>();
    T* y = a.y.as<T>();
    const std::int64_t n = a.x.numel();
#pragma omp parallel for
    for (std::int64_t i = 0; i < n; ++i) y[i] = T(x[i] / 255.0);
  };
  a.y.dtype == DType::f64 ? run(double{}) : run(float{});
}

}  // namespace mfl::cpu
