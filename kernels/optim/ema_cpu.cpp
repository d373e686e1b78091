#include "kernels/common/dispatch.h"
#include "kernels/optim/ema.h"

namespace mfl::cpu {
namespace {

template <class T>
void run(const Ema& a) {
  T* shadow = a.shadow.as<T>();
  const T* value = a.value.as<T>();
  const double keep = 1 - a.decay;
#pragma omp parallel for
  for (std::int64_t i = 0; i < a.shadow.numel(); ++i)
    shadow[i] = keep == 1 ? value[i] : T(double(shadow[i]) - keep * (double(shadow[i]) - double(value[i])));
}

}  // namespace

void ema(const Ema& a) { a.shadow.dtype == DType::f64 ? run<double>(a) : run<float>(a); }

}  // namespace mfl::cpu
