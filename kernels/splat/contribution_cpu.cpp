#include <algorithm>
#include <vector>

#include "kernels/splat/contribution.h"
#include "kernels/splat/pixel_cpu.h"

namespace mfl::cpu {
namespace {

template <class T>
void fwd(const ContributionFwd& a) {
  const std::int64_t views = a.splat.shape[0], n = a.splat.shape[1];
  const T *splat = a.splat.as<T>(), *depth = a.depth.as<T>();
  const std::int32_t* rect = a.rect.as<std::int32_t>();
  std::vector<double> total(std::size_t(views * n), 0.0), peak(std::size_t(views * n), 0.0);
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t v = 0; v < views; ++v) {
    const std::int64_t pixels = std::int64_t(a.height) * a.width;
    std::vector<T> transmittance(std::size_t(pixels), T(1));
    std::vector<unsigned char> done(std::size_t(pixels), 0);
    for (const auto& [key, i] : by_depth(depth + v * n, rect + v * n, n)) {
      const T* s = splat + kSplatSize * (v * n + i);
      const Box b = reach(s, std::uint32_t(rect[v * n + i]), a.width, 0, a.height);
      if (b.x1 <= b.x0 || b.y1 <= b.y0) continue;
      const T faint = faint_power(s);
      double sum = 0, most = 0;
      for (int y = b.y0; y < b.y1; ++y)
        for (int x = b.x0; x < b.x1; ++x) {
          const std::size_t p = std::size_t(y) * std::size_t(a.width) + std::size_t(x);
          if (done[p]) continue;
          const Weight<T> w = weigh(s, faint, x, y);
          if (w.alpha == 0) continue;
          const T next = transmittance[p] * (1 - w.alpha);
          if (next < T(kEnough)) {
            done[p] = 1;
            continue;
          }
          const double share = double(w.alpha * transmittance[p]);
          sum += share, most = std::max(most, share);
          transmittance[p] = next;
        }
      total[std::size_t(v * n + i)] = sum, peak[std::size_t(v * n + i)] = most;
    }
  }
  for (std::int64_t i = 0; i < n; ++i) {
    double sum = 0, most = 0;
    for (std::int64_t v = 0; v < views; ++v)
      sum += total[std::size_t(v * n + i)], most = std::max(most, peak[std::size_t(v * n + i)]);
    a.total.as<T>()[i] = T(sum), a.peak.as<T>()[i] = T(most);
  }
}

}  // namespace

void contribution_fwd(const ContributionFwd& a) {
  if (a.splat.dtype == DType::f64)
    fwd<double>(a);
  else
    fwd<float>(a);
}

}  // namespace mfl::cpu
