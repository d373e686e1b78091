#include <vector>

#include "kernels/common/dispatch.h"
#include "kernels/common/grad_write.h"
#include "kernels/elementwise/image_vector.h"

namespace mfl::cpu {

void add_image_vector(const AddImageVector& a) {
  dispatch_float(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    const std::int64_t images = a.v.shape[0], channels = a.v.shape[1], pixels = a.x.shape.rows() / images;
    T* x = a.x.as<T>();
    const T* v = a.v.as<T>();
#pragma omp parallel for
    for (std::int64_t r = 0; r < images * pixels; ++r)
      for (std::int64_t c = 0; c < channels; ++c)
        x[r * channels + c] = T(double(x[r * channels + c]) + double(v[r / pixels * channels + c]));
  });
}

void sum_image_vector(const SumImageVector& a) {
  dispatch_float(a.dx.dtype, [&](auto t) {
    using T = decltype(t);
    const std::int64_t images = a.dv.shape[0], channels = a.dv.shape[1], pixels = a.dx.shape.rows() / images;
    const T* dx = a.dx.as<T>();
    T* dv = a.dv.as<T>();
#pragma omp parallel for
    for (std::int64_t n = 0; n < images; ++n) {
      std::vector<double> sum(std::size_t(channels), 0.0);
      for (std::int64_t p = 0; p < pixels; ++p)
        for (std::int64_t c = 0; c < channels; ++c) sum[std::size_t(c)] += double(dx[(n * pixels + p) * channels + c]);
      for (std::int64_t c = 0; c < channels; ++c) grad_write(dv[n * channels + c], sum[std::size_t(c)], a.dv_mode);
    }
  });
}

}  // namespace mfl::cpu
