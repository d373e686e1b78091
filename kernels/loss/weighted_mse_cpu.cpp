#include "kernels/common/dispatch.h"
#include "kernels/common/grad_write.h"
#include "kernels/loss/weighted_mse.h"

namespace mfl::cpu {
namespace {

// T: the network's output; A: target, weights and sums.
template <class T, class A>
void fwd(const WeightedMseFwd& a) {
  const std::int64_t samples = a.x.shape[0], size = a.x.numel() / samples;
  const T* x = a.x.as<T>();
  const A *target = a.target.as<A>(), *weights = a.weights.as<A>();
#pragma omp parallel for
  for (std::int64_t n = 0; n < samples; ++n) {
    double sum = 0;
    for (std::int64_t i = n * size; i < (n + 1) * size; ++i) {
      const double e = double(x[i]) - double(target[i]);
      sum += e * e;
    }
    a.per_sample.as<A>()[n] = A(double(weights[n]) * sum / double(size));
  }
  double loss = 0;
  for (std::int64_t n = 0; n < samples; ++n) loss += double(a.per_sample.as<A>()[n]);
  a.loss.as<A>()[0] = A(loss / double(samples));
}

template <class T, class A>
void bwd(const WeightedMseBwd& a) {
  const std::int64_t samples = a.x.shape[0], size = a.x.numel() / samples;
  const T* x = a.x.as<T>();
  const A *target = a.target.as<A>(), *weights = a.weights.as<A>();
  T* dx = a.dx.as<T>();
#pragma omp parallel for
  for (std::int64_t n = 0; n < samples; ++n) {
    const double factor = 2 * a.weight * double(weights[n]) / (double(samples) * double(size));
    for (std::int64_t i = n * size; i < (n + 1) * size; ++i)
      grad_write(dx[i], factor * (double(x[i]) - double(target[i])), a.dx_mode);
  }
}

}  // namespace

void weighted_mse_fwd(const WeightedMseFwd& a) {
  if (a.x.dtype == DType::f64) return fwd<double, double>(a);
  a.x.dtype == DType::f32 ? fwd<float, float>(a) : fwd<bf16, float>(a);
}
void weighted_mse_bwd(const WeightedMseBwd& a) {
  if (a.x.dtype == DType::f64) return bwd<double, double>(a);
  a.x.dtype == DType::f32 ? bwd<float, float>(a) : bwd<bf16, float>(a);
}

}  // namespace mfl::cpu
