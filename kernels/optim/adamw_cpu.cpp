#include <cmath>

#include "kernels/common/dispatch.h"
#include "kernels/optim/adamw.h"

namespace mfl::cpu {
namespace {

// T: masters; C: the compute copy.
template <class T, class C>
void run(const AdamW& a) {
  const auto& step = *static_cast<const StepScalars*>(a.scalars.data);
  if (!step.apply) return;
  const std::int64_t* table = a.chunks.as<std::int64_t>();
  T *value = a.value.as<T>(), *exp_avg = a.exp_avg.as<T>(), *exp_avg_sq = a.exp_avg_sq.as<T>();
  const T* grad = a.grad.as<T>();
  C* compute = a.compute ? a.compute.as<C>() : nullptr;
#pragma omp parallel for
  for (std::int64_t c = 0; c < a.chunks.shape[0]; ++c) {
    const AdamWGroup& group = a.groups.at(std::size_t(table[4 * c + 3]));
    const double lr = step.learning_rate * group.learning_rate_factor, keep = 1 - lr * group.weight_decay;
    for (std::int64_t i = table[4 * c]; i < table[4 * c] + table[4 * c + 1]; ++i) {
      const double g = step.grad_scale * double(grad[i]);
      const double m = double(exp_avg[i]) + (1 - a.beta1) * (g - double(exp_avg[i]));
      const double v = a.beta2 * double(exp_avg_sq[i]) + (1 - a.beta2) * g * g;
      const double p = double(value[i]) * keep -
                       lr / step.bias1 * m / (std::sqrt(v) / std::sqrt(step.bias2) + a.eps);
      exp_avg[i] = T(m), exp_avg_sq[i] = T(v), value[i] = T(p);
      if (compute) compute[i] = C(double(value[i]));
    }
  }
}

}  // namespace

void adamw(const AdamW& a) {
  dispatch_float(a.compute ? a.compute.dtype : a.value.dtype, [&](auto c) {
    using C = decltype(c);
    a.value.dtype == DType::f64 ? run<double, C>(a) : run<float, C>(a);
  });
}

}  // namespace mfl::cpu
