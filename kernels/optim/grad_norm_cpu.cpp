#include <cmath>

#include "kernels/common/dispatch.h"
#include "kernels/optim/decide.h"
#include "kernels/optim/grad_norm.h"

namespace mfl::cpu {

void grad_norm(const GradNorm& a) {
  const std::int64_t chunks = a.chunks.shape[0];
  const std::int64_t* table = a.chunks.as<std::int64_t>();
  double* partial = a.partial.as<double>();
  auto squares = [&](auto t) {
    const auto* grad = a.grad.as<decltype(t)>();
#pragma omp parallel for
    for (std::int64_t c = 0; c < chunks; ++c) {
      double sum = 0;
      for (std::int64_t i = table[4 * c]; i < table[4 * c] + table[4 * c + 1]; ++i)
        sum += double(grad[i]) * double(grad[i]);
      partial[c] = sum;
    }
  };
  a.grad.dtype == DType::f64 ? squares(double{}) : squares(float{});
  auto& step = *static_cast<StepScalars*>(a.scalars.data);
  double sum = 0;
  step.bad_segment = -1;
  for (std::int64_t c = 0; c < chunks; ++c) {
    if (!std::isfinite(partial[c]) && step.bad_segment < 0) step.bad_segment = table[4 * c + 2];
    sum += partial[c];
  }
  step.norm = std::sqrt(sum);
}

void decide_update(const DecideUpdate& a) {
  bool finite = true;
  for (std::int64_t i = 0; a.loss && i < a.loss.numel(); ++i)
    finite =
        finite && std::isfinite(a.loss.dtype == DType::f64 ? a.loss.as<double>()[i] : double(a.loss.as<float>()[i]));
  decide(*static_cast<StepScalars*>(a.scalars.data), finite, a.factor, a.max_norm, a.allowed_factor, a.beta1, a.beta2);
}

}  // namespace mfl::cpu
