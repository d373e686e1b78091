#include <algorithm>

#include "kernels/common/dispatch.h"
#include "kernels/common/grad_write.h"
#include "kernels/resample/upsample.h"

namespace mfl::cpu {

void upsample2x_fwd(const Upsample2xFwd& a) {
  dispatch_float(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    const Shape& to = a.y.shape;
    const std::int64_t height = to[1], width = to[2], channels = to[3];
    const T* x = a.x.as<T>();
    T* y = a.y.as<T>();
#pragma omp parallel for collapse(2)
    for (std::int64_t n = 0; n < to[0]; ++n)
      for (std::int64_t h = 0; h < height; ++h)
        for (std::int64_t w = 0; w < width; ++w) {
          const T* from = x + ((n * (height / 2) + h / 2) * (width / 2) + w / 2) * channels;
          std::copy(from, from + channels, y + ((n * height + h) * width + w) * channels);
        }
  });
}

void upsample2x_bwd(const Upsample2xBwd& a) {
  dispatch_float(a.dx.dtype, [&](auto t) {
    using T = decltype(t);
    const Shape& to = a.dx.shape;
    const std::int64_t height = to[1], width = to[2], channels = to[3];
    const T* dy = a.dy.as<T>();
    T* dx = a.dx.as<T>();
#pragma omp parallel for collapse(2)
    for (std::int64_t n = 0; n < to[0]; ++n)
      for (std::int64_t h = 0; h < height; ++h)
        for (std::int64_t w = 0; w < width; ++w)
          for (std::int64_t c = 0; c < channels; ++c) {
            double sum = 0;
            for (std::int64_t i = 0; i < 2; ++i)
              for (std::int64_t j = 0; j < 2; ++j)
                sum += double(dy[((n * 2 * height + 2 * h + i) * 2 * width + 2 * w + j) * channels + c]);
            grad_write(dx[((n * height + h) * width + w) * channels + c], sum, a.dx_mode);
          }
  });
}

}  // namespace mfl::cpu
