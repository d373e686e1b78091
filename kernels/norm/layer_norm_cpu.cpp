#include <cmath>

#include "kernels/common/dispatch.h"
#include "kernels/common/grad_write.h"
#include "kernels/norm/layer_norm.h"

namespace mfl::cpu {
namespace {

template <class X, class Y, class A>
void fwd(const LayerNormFwd& a) {
  const std::int64_t rows = a.x.shape.rows(), channels = a.x.shape[-1];
  const X* x = a.x.as<X>();
  const A* weight = a.weight.as<A>();
  const A* bias = a.bias ? a.bias.as<A>() : nullptr;
  Y* y = a.y.as<Y>();
#pragma omp parallel for
  for (std::int64_t r = 0; r < rows; ++r) {
    double mean = 0, var = 0;
    for (std::int64_t c = 0; c < channels; ++c) mean += double(x[r * channels + c]);
    mean /= double(channels);
    for (std::int64_t c = 0; c < channels; ++c) var += std::pow(double(x[r * channels + c]) - mean, 2);
    const double rstd = 1 / std::sqrt(var / double(channels) + double(a.eps));
    for (std::int64_t c = 0; c < channels; ++c)
      y[r * channels + c] =
          Y((double(x[r * channels + c]) - mean) * rstd * double(weight[c]) + (bias ? double(bias[c]) : 0.0));
    if (a.mean) a.mean.as<A>()[r] = A(mean), a.rstd.as<A>()[r] = A(rstd);
  }
}

template <class X, class Y, class A>
void bwd(const LayerNormBwd& a) {
  const std::int64_t rows = a.x.shape.rows(), channels = a.x.shape[-1];
  const X* x = a.x.as<X>();
  const Y* dy = a.dy.as<Y>();
  const A *weight = a.weight.as<A>(), *mean = a.mean.as<A>(), *rstd = a.rstd.as<A>();
  if (a.dx_mode != GradMode::ignore) {
    X* dx = a.dx.as<X>();
#pragma omp parallel for
    for (std::int64_t r = 0; r < rows; ++r) {
      double sum_g = 0, sum_gx = 0;
      for (std::int64_t c = 0; c < channels; ++c) {
        const double xhat = (double(x[r * channels + c]) - double(mean[r])) * double(rstd[r]);
        const double g = double(dy[r * channels + c]) * double(weight[c]);
        sum_g += g;
        sum_gx += g * xhat;
      }
      for (std::int64_t c = 0; c < channels; ++c) {
        const double xhat = (double(x[r * channels + c]) - double(mean[r])) * double(rstd[r]);
        const double g = double(dy[r * channels + c]) * double(weight[c]);
        grad_write(dx[r * channels + c], double(rstd[r]) * (g - sum_g / double(channels) - xhat * sum_gx / double(channels)),
                   a.dx_mode);
      }
    }
  }
  if (a.dw_mode == GradMode::ignore) return;
#pragma omp parallel for
  for (std::int64_t c = 0; c < channels; ++c) {
    double dweight = 0, dbias = 0;
    for (std::int64_t r = 0; r < rows; ++r) {
      dweight += double(dy[r * channels + c]) * (double(x[r * channels + c]) - double(mean[r])) * double(rstd[r]);
      dbias += double(dy[r * channels + c]);
    }
    grad_write(a.dweight.as<A>()[c], dweight, a.dw_mode);
    if (a.dbias) grad_write(a.dbias.as<A>()[c], dbias, a.dw_mode);
  }
}

// X is f64, f32 or bf16; the accum type A follows from it; Y is X's own type, or bf16 after f32.
template <template <class, class, class> class Run, class Args>
void run(const Args& args, DType x, DType y) {
  if (x == DType::f64 && y == DType::f64) return Run<double, double, double>::call(args);
  if (x == DType::f32 && y == DType::f32) return Run<float, float, float>::call(args);
  if (x == DType::f32 && y == DType::bf16) return Run<float, bf16, float>::call(args);
  if (x == DType::bf16 && y == DType::bf16) return Run<bf16, bf16, float>::call(args);
  fail<ShapeError>(__FILE__, __LINE__, "layer_norm: x ", x, " with y ", y);
}
template <class X, class Y, class A> struct Fwd { static void call(const LayerNormFwd& a) { fwd<X, Y, A>(a); } };
template <class X, class Y, class A> struct Bwd { static void call(const LayerNormBwd& a) { bwd<X, Y, A>(a); } };

}  // namespace

void layer_norm_fwd(const LayerNormFwd& a) { run<Fwd>(a, a.x.dtype, a.y.dtype); }
void layer_norm_bwd(const LayerNormBwd& a) { run<Bwd>(a, a.x.dtype, a.dy.dtype); }

}  // namespace mfl::cpu
