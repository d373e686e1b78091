#include <algorithm>
#include <cmath>

#include "kernels/common/dispatch.h"
#include "kernels/common/grad_write.h"
#include "kernels/loss/l1.h"

namespace mfl::cpu {
namespace {

template <class T, class A>
void fwd(const L1Fwd& args) {
  const std::int64_t rows = args.a.shape.rows(), channels = args.a.numel() / std::max<std::int64_t>(rows, 1);
  const T *a = args.a.as<T>(), *b = args.b.as<T>();
  double sum = 0;
  for (std::int64_t r = 0; r < rows; ++r) {
    double row = 0;
    for (std::int64_t i = r * channels; i < (r + 1) * channels; ++i) row += std::abs(double(a[i]) - double(b[i]));
    sum += row;
  }
  grad_write(args.loss.as<A>()[0], args.scale * sum, args.loss_mode);
}

template <class T>
void bwd(const L1Bwd& args) {
  const T *a = args.a.as<T>(), *b = args.b.as<T>();
  T* da = args.da.as<T>();
  const double factor = args.scale * args.weight;
#pragma omp parallel for
  for (std::int64_t i = 0; i < args.a.numel(); ++i) {
    const double d = double(a[i]) - double(b[i]);
    grad_write(da[i], d > 0 ? factor : d < 0 ? -factor : 0.0, args.da_mode);
  }
}

}  // namespace

void l1_fwd(const L1Fwd& a) {
  if (a.a.dtype == DType::f64) return fwd<double, double>(a);
  if (a.a.dtype == DType::f32) return fwd<float, float>(a);
  fwd<bf16, float>(a);
}
void l1_bwd(const L1Bwd& a) {
  dispatch_float(a.a.dtype, [&](auto t) { bwd<decltype(t)>(a); });
}

}  // namespace mfl::cpu
