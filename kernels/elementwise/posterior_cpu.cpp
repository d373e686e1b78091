#include <algorithm>
#include <cmath>

#include "kernels/common/dispatch.h"
#include "kernels/elementwise/posterior.h"

namespace mfl::cpu {
namespace {

// M: moments; T: y; A: its accum type.
template <class M, class T, class A>
void run(const SamplePosterior& a) {
  const std::int64_t rows = a.y.shape.rows(), c = a.y.shape[-1];
  const M* moments = a.moments.as<M>();
  const A* noise = a.noise ? a.noise.as<A>() : nullptr;
  T* y = a.y.as<T>();
#pragma omp parallel for
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t i = 0; i < c; ++i) {
      double value = double(moments[r * 2 * c + i]);
      if (noise)
        value += std::exp(0.5 * std::clamp(double(moments[r * 2 * c + c + i]), -30.0, 20.0)) * double(noise[r * c + i]);
      y[r * c + i] = T(a.scale * value);
    }
}

}  // namespace

void sample_posterior(const SamplePosterior& a) {
  dispatch_float(a.moments.dtype, [&](auto m) {
    using M = decltype(m);
    if (a.y.dtype == DType::f64) return run<M, double, double>(a);
    a.y.dtype == DType::f32 ? run<M, float, float>(a) : run<M, bf16, float>(a);
  });
}

}  // namespace mfl::cpu
