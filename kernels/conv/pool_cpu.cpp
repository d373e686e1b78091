#include "kernels/common/dispatch.h"
#include "kernels/common/grad_write.h"
#include "kernels/conv/pool.h"

namespace mfl::cpu {
namespace {

// Which of the window's four elements (0 1 / 2 3) is the first maximum.
template <class T>
int first_maximum(const T* corner, std::int64_t row, std::int64_t column) {
  const double v[4] = {double(corner[0]), double(corner[column]), double(corner[row]), double(corner[row + column])};
  int best = 0;
  for (int k = 1; k < 4; ++k)
    if (v[k] > v[best]) best = k;
  return best;
}

template <class T>
void fwd(const Pool2x2Fwd& a) {
  const std::int64_t height = a.x.shape[1], width = a.x.shape[2], channels = a.x.shape[3];
  const std::int64_t row = width * channels;
  const T* x = a.x.as<T>();
  T* y = a.y.as<T>();
#pragma omp parallel for collapse(2)
  for (std::int64_t n = 0; n < a.x.shape[0]; ++n)
    for (std::int64_t h = 0; h < height / 2; ++h)
      for (std::int64_t w = 0; w < width / 2; ++w)
        for (std::int64_t c = 0; c < channels; ++c) {
          const T* corner = x + (n * height + 2 * h) * row + 2 * w * channels + c;
          T& out = y[((n * (height / 2) + h) * (width / 2) + w) * channels + c];
          const std::int64_t at[4] = {0, channels, row, row + channels};
          if (a.kind == Pool::max) out = corner[at[first_maximum(corner, row, channels)]];
          else
            out = T((double(corner[at[0]]) + double(corner[at[1]]) + double(corner[at[2]]) + double(corner[at[3]])) / 4);
        }
}

template <class T>
void bwd(const Pool2x2Bwd& a) {
  const std::int64_t height = a.dx.shape[1], width = a.dx.shape[2], channels = a.dx.shape[3];
  const std::int64_t row = width * channels;
  const T *x = a.kind == Pool::max ? a.x.as<T>() : nullptr, *dy = a.dy.as<T>();
  T* dx = a.dx.as<T>();
#pragma omp parallel for collapse(2)
  for (std::int64_t n = 0; n < a.dx.shape[0]; ++n)
    for (std::int64_t h = 0; h < height; ++h)
      for (std::int64_t w = 0; w < width; ++w)
        for (std::int64_t c = 0; c < channels; ++c) {
          double gradient = 0;
          if (h / 2 < height / 2 && w / 2 < width / 2) {
            const double d = dy[((n * (height / 2) + h / 2) * (width / 2) + w / 2) * channels + c];
            if (a.kind == Pool::average) gradient = d / 4;
            else if (first_maximum(x + (n * height + h / 2 * 2) * row + w / 2 * 2 * channels + c, row, channels) ==
                     h % 2 * 2 + w % 2)
              gradient = d;
          }
          grad_write(dx[(n * height + h) * row + w * channels + c], gradient, a.dx_mode);
        }
}

}  // namespace

void pool2x2_fwd(const Pool2x2Fwd& a) {
  dispatch_float(a.x.dtype, [&](auto t) { fwd<decltype(t)>(a); });
}
void pool2x2_bwd(const Pool2x2Bwd& a) {
  dispatch_float(a.dx.dtype, [&](auto t) { bwd<decltype(t)>(a); });
}

}  // namespace mfl::cpu
