#include <cmath>
#include <vector>

#include "kernels/common/dispatch.h"
#include "kernels/common/grad_write.h"
#include "kernels/norm/group_norm.h"

namespace mfl::cpu {
namespace {

double sigmoid(double z) { return 1 / (1 + std::exp(-z)); }

template <class T, class A>
void fwd(const GroupNormFwd& a) {
  const std::int64_t images = a.x.shape[0], pixels = a.x.shape.rows() / images, channels = a.x.shape[-1];
  const std::int64_t width = channels / a.groups;
  const A *weight = a.weight.as<A>(), *bias = a.bias.as<A>();
#pragma omp parallel for collapse(2)
  for (std::int64_t n = 0; n < images; ++n)
    for (std::int64_t g = 0; g < a.groups; ++g) {
      const T* x = a.x.as<T>() + n * pixels * channels + g * width;
      T* y = a.y.as<T>() + n * pixels * channels + g * width;
      double mean = 0, var = 0;
      for (std::int64_t p = 0; p < pixels; ++p)
        for (std::int64_t c = 0; c < width; ++c) mean += double(x[p * channels + c]);
      mean /= double(pixels * width);
      for (std::int64_t p = 0; p < pixels; ++p)
        for (std::int64_t c = 0; c < width; ++c) {
          const double d = double(x[p * channels + c]) - mean;
          var += d * d;
        }
      const double rstd = 1 / std::sqrt(var / double(pixels * width) + double(a.eps));
      for (std::int64_t p = 0; p < pixels; ++p)
        for (std::int64_t c = 0; c < width; ++c) {
          const double z = (double(x[p * channels + c]) - mean) * rstd * double(weight[g * width + c]) +
                           double(bias[g * width + c]);
          y[p * channels + c] = T(a.silu ? z * sigmoid(z) : z);
        }
      if (a.mean) a.mean.as<A>()[n * a.groups + g] = A(mean), a.rstd.as<A>()[n * a.groups + g] = A(rstd);
    }
}

template <class T, class A>
void bwd(const GroupNormBwd& a) {
  const std::int64_t images = a.x.shape[0], pixels = a.x.shape.rows() / images, channels = a.x.shape[-1];
  const std::int64_t width = channels / a.groups;
  const A *weight = a.weight.as<A>(), *bias = a.bias.as<A>();
  // One group's channels at a time, over all images: their weight gradients have no other reader.
#pragma omp parallel for
  for (std::int64_t g = 0; g < a.groups; ++g) {
    std::vector<double> dweight(std::size_t(width), 0.0), dbias(std::size_t(width), 0.0);
    std::vector<double> xhat(std::size_t(pixels * width)), dz(std::size_t(pixels * width));
    for (std::int64_t n = 0; n < images; ++n) {
      const std::int64_t first = n * pixels * channels + g * width;
      const T *x = a.x.as<T>() + first, *dy = a.dy.as<T>() + first;
      const double mean = double(a.mean.as<A>()[n * a.groups + g]), rstd = double(a.rstd.as<A>()[n * a.groups + g]);
      double sum_g = 0, sum_gx = 0;
      for (std::int64_t p = 0; p < pixels; ++p)
        for (std::int64_t c = 0; c < width; ++c) {
          const std::size_t i = std::size_t(p * width + c);
          const double w = double(weight[g * width + c]);
          xhat[i] = (double(x[p * channels + c]) - mean) * rstd;
          dz[i] = double(dy[p * channels + c]);
          if (a.silu) {
            const double z = xhat[i] * w + double(bias[g * width + c]), s = sigmoid(z);
            dz[i] *= s * (1 + z * (1 - s));
          }
          sum_g += dz[i] * w;
          sum_gx += dz[i] * w * xhat[i];
          dweight[std::size_t(c)] += dz[i] * xhat[i];
          dbias[std::size_t(c)] += dz[i];
        }
      if (a.dx_mode == GradMode::ignore) continue;
      T* dx = a.dx.as<T>() + first;
      const double count = double(pixels * width);
      for (std::int64_t p = 0; p < pixels; ++p)
        for (std::int64_t c = 0; c < width; ++c) {
          const std::size_t i = std::size_t(p * width + c);
          grad_write(dx[p * channels + c],
                     rstd * (dz[i] * double(weight[g * width + c]) - sum_g / count - xhat[i] * sum_gx / count), a.dx_mode);
        }
    }
    if (a.dw_mode == GradMode::ignore) continue;
    for (std::int64_t c = 0; c < width; ++c) {
      grad_write(a.dweight.as<A>()[g * width + c], dweight[std::size_t(c)], a.dw_mode);
      grad_write(a.dbias.as<A>()[g * width + c], dbias[std::size_t(c)], a.dw_mode);
    }
  }
}

}  // namespace

void group_norm_fwd(const GroupNormFwd& a) {
  if (a.x.dtype == DType::f64) return fwd<double, double>(a);
  dispatch_float(a.x.dtype, [&](auto t) { fwd<decltype(t), float>(a); });
}
void group_norm_bwd(const GroupNormBwd& a) {
  if (a.x.dtype == DType::f64) return bwd<double, double>(a);
  dispatch_float(a.x.dtype, [&](auto t) { bwd<decltype(t), float>(a); });
}

}  // namespace mfl::cpu
