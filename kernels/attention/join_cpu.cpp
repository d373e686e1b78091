#include <algorithm>
#include <cmath>

#include "kernels/attention/join.h"
#include "kernels/common/dispatch.h"

namespace mfl::cpu {
namespace {

template <class T, class L>
void run(const AttentionJoin& a) {
  const std::int64_t objects = a.y.shape[0], views = a.y.shape[1], tokens = a.y.shape[2], heads = a.y.shape[3],
                     size = a.y.shape[4], others = (views - 1) * tokens;
  const T *y_a = a.y_a.as<T>(), *y_b = a.y_b.as<T>();
  T* y = a.y.as<T>();
#pragma omp parallel for collapse(3)
  for (std::int64_t o = 0; o < objects; ++o)
    for (std::int64_t v = 0; v < views; ++v)
      for (std::int64_t t = 0; t < tokens; ++t)
        for (std::int64_t h = 0; h < heads; ++h) {
          const std::int64_t in_a = ((o * views + v) * heads + h) * tokens + t;
          const std::int64_t row = (((o * views + v) * tokens + t) * heads + h) * size;
          const double lse_a = double(a.lse_a.as<L>()[in_a]);
          if (v == 0) {
            for (std::int64_t d = 0; d < size; ++d) y[row + d] = y_a[row + d];
            a.joined_a.as<L>()[in_a] = L(lse_a);
            continue;
          }
          const std::int64_t token = (v - 1) * tokens + t, in_b = (o * heads + h) * others + token;
          const double lse_b = double(a.lse_b.as<L>()[in_b]), top = std::max(lse_a, lse_b);
          const double lse = top + std::log(std::exp(lse_a - top) + std::exp(lse_b - top));
          const double share_a = std::exp(lse_a - lse), share_b = std::exp(lse_b - lse);
          const T* from_b = y_b + ((o * others + token) * heads + h) * size;
          for (std::int64_t d = 0; d < size; ++d)
            y[row + d] = T(share_a * double(y_a[row + d]) + share_b * double(from_b[d]));
          a.joined_a.as<L>()[in_a] = L(lse);
          a.joined_b.as<L>()[in_b] = L(lse);
        }
}

}  // namespace

void attention_join(const AttentionJoin& a) {
  if (a.y.dtype == DType::f64) return run<double, double>(a);
  dispatch_float(a.y.dtype, [&](auto t) { run<decltype(t), float>(a); });
}

}  // namespace mfl::cpu
