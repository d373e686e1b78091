#include <cmath>
#include <vector>

#include "kernels/common/dispatch.h"
#include "kernels/common/grad_write.h"
#include "kernels/loss/feature_distance.h"

namespace mfl::cpu {
namespace {

template <class T>
double norm(const T* row, std::int64_t channels) {
  double sum = 0;
  for (std::int64_t c = 0; c < channels; ++c) sum += double(row[c]) * double(row[c]);
  return std::sqrt(sum);
}

template <class T, class A>
void fwd(const FeatureDistanceFwd& args) {
  const std::int64_t rows = args.a.shape.rows(), channels = args.a.shape[-1];
  const A* head = args.head.as<A>();
  std::vector<double> sums(std::size_t(rows), 0.0);
#pragma omp parallel for
  for (std::int64_t r = 0; r < rows; ++r) {
    const T *a = args.a.as<T>() + r * channels, *b = args.b.as<T>() + r * channels;
    const double na = norm(a, channels) + kFeatureNormEps, nb = norm(b, channels) + kFeatureNormEps;
    for (std::int64_t c = 0; c < channels; ++c)
      sums[std::size_t(r)] += double(head[c]) * std::pow(double(a[c]) / na - double(b[c]) / nb, 2);
  }
  double sum = 0;
  for (double s : sums) sum += s;
  grad_write(args.loss.as<A>()[0], args.scale * sum, args.loss_mode);
}

template <class T, class A>
void bwd(const FeatureDistanceBwd& args) {
  const std::int64_t rows = args.a.shape.rows(), channels = args.a.shape[-1];
  const A* head = args.head.as<A>();
#pragma omp parallel for
  for (std::int64_t r = 0; r < rows; ++r) {
    const T *a = args.a.as<T>() + r * channels, *b = args.b.as<T>() + r * channels;
    T* da = args.da.as<T>() + r * channels;
    const double length = norm(a, channels), na = length + kFeatureNormEps, nb = norm(b, channels) + kFeatureNormEps;
    auto g = [&](std::int64_t c) {
      return 2 * args.scale * args.weight * double(head[c]) * (double(a[c]) / na - double(b[c]) / nb);
    };
    double ga = 0;
    for (std::int64_t c = 0; c < channels; ++c) ga += g(c) * double(a[c]);
    for (std::int64_t c = 0; c < channels; ++c)
      grad_write(da[c], g(c) / na - (length > 0 ? double(a[c]) * ga / (length * na * na) : 0.0), args.da_mode);
  }
}

template <template <class, class> class Run, class Args>
void run(const Args& a) {
  if (a.a.dtype == DType::f64) return Run<double, double>::call(a);
  if (a.a.dtype == DType::f32) return Run<float, float>::call(a);
  Run<bf16, float>::call(a);
}
template <class T, class A> struct Fwd { static void call(const FeatureDistanceFwd& a) { fwd<T, A>(a); } };
template <class T, class A> struct Bwd { static void call(const FeatureDistanceBwd& a) { bwd<T, A>(a); } };

}  // namespace

void feature_distance_fwd(const FeatureDistanceFwd& a) { run<Fwd>(a); }
void feature_distance_bwd(const FeatureDistanceBwd& a) { run<Bwd>(a); }

}  // namespace mfl::cpu
