#include "kernels/common/dispatch.h"
#include "kernels/common/grad_write.h"
#include "kernels/loss/normalize_image.h"

namespace mfl::cpu {

void normalize_image_fwd(const NormalizeImageFwd& a) {
  const std::int64_t pixels = a.image.shape.rows(), channels = a.image.shape[3];
  dispatch_float(a.image.dtype, [&](auto i) {
    dispatch_float(a.y.dtype, [&](auto o) {
      using T = decltype(i);
      using Y = decltype(o);
      const T* image = a.image.as<T>();
      Y* y = a.y.as<Y>();
#pragma omp parallel for
      for (std::int64_t p = 0; p < pixels; ++p)
        for (std::size_t c = 0; c < 3; ++c)
          y[p * 3 + std::int64_t(c)] = Y(double(image[p * channels + std::int64_t(c)]) * a.scale[c] + a.offset[c]);
    });
  });
}

void normalize_image_bwd(const NormalizeImageBwd& a) {
  dispatch_float(a.dy.dtype, [&](auto i) {
    dispatch_float(a.dimage.dtype, [&](auto o) {
      using T = decltype(i);
      using D = decltype(o);
      const T* dy = a.dy.as<T>();
      D* dimage = a.dimage.as<D>();
#pragma omp parallel for
      for (std::int64_t p = 0; p < a.dy.shape.rows(); ++p)
        for (std::size_t c = 0; c < 3; ++c)
          grad_write(dimage[p * 3 + std::int64_t(c)], a.scale[c] * double(dy[p * 3 + std::int64_t(c)]), a.dimage_mode);
    });
  });
}

}  // namespace mfl::cpu
