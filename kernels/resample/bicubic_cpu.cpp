#include <type_traits>
#include <vector>

#include "kernels/common/dispatch.h"
#include "kernels/resample/bicubic.h"
#include "kernels/resample/bicubic_math.h"

namespace mfl::cpu {
namespace {

// One axis: x [outer, from, inner] to y [outer, to, inner].
template <class X, class Y>
void pass(const X* x, Y* y, std::int64_t outer, std::int64_t from, std::int64_t to, std::int64_t inner) {
#pragma omp parallel for
  for (std::int64_t o = 0; o < outer; ++o)
    for (std::int64_t t = 0; t < to; ++t) {
      const BicubicWindow window = bicubic_window(t, from, to);
      std::vector<double> weights(std::size_t(window.count), 0.0);
      std::vector<std::int32_t> fixed(std::size_t(window.count), 0);
      for (std::int64_t k = 0; k < window.count; ++k)
        weights[std::size_t(k)] = window.weight(k), fixed[std::size_t(k)] = window.fixed(k);
      for (std::int64_t i = 0; i < inner; ++i) {
        const X* taps = x + (o * from + window.first) * inner + i;
        Y& out = y[(o * to + t) * inner + i];
        if constexpr (std::is_same_v<X, std::uint8_t>) {
          std::int32_t sum = 1 << 21;
          for (std::int64_t k = 0; k < window.count; ++k) sum += fixed[std::size_t(k)] * std::int32_t{taps[k * inner]};
          const std::uint8_t byte = clip8(sum);
          if constexpr (std::is_same_v<Y, float>)
            out = float(byte * (1 / 255.0));
          else
            out = byte;
        } else {
          double sum = 0;
          for (std::int64_t k = 0; k < window.count; ++k) sum += weights[std::size_t(k)] * double(taps[k * inner]);
          out = Y(sum);
        }
      }
    }
}

template <class X, class Y>
void run(const ResizeBicubic& a) {
  const Shape &x = a.x.shape, &y = a.y.shape;
  pass(a.x.as<X>(), a.rows.as<X>(), x[0] * x[1], x[2], y[2], x[3]);
  pass(static_cast<const X*>(a.rows.as<X>()), a.y.as<Y>(), x[0], x[1], y[1], y[2] * x[3]);
}

}  // namespace

void resize_bicubic(const ResizeBicubic& a) {
  if (a.x.dtype == DType::f64) return run<double, double>(a);
  a.x.dtype == DType::f32 ? run<float, float>(a) : run<std::uint8_t, float>(a);
}

}  // namespace mfl::cpu
