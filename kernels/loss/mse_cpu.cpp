#include <algorithm>
#include <vector>

#include "kernels/common/dispatch.h"
#include "kernels/common/grad_write.h"
#include "kernels/loss/mse.h"

namespace mfl::cpu {
namespace {

bool selected(PixelSet set, const float* target) {
  return set == PixelSet::all || (set == PixelSet::foreground ? target[3] > 0.5f : target[3] < 0.5f);
}

double wanted(const std::array<double, 3>* colour, const float* target, int c) {
  return colour ? (*colour)[std::size_t(c)] : double(target[c]);
}

template <class T>
void fwd(const MseFwd& a) {
  const std::int64_t lines = a.render.shape[0] * a.render.shape[1], width = a.render.shape[2], ct = a.target.shape[3];
  const T* render = a.render.as<T>();
  const float* target = a.target.as<float>();
  std::vector<double> sums(std::size_t(lines), 0.0), counts(std::size_t(lines), 0.0);
#pragma omp parallel for
  for (std::int64_t l = 0; l < lines; ++l)
    for (std::int64_t p = l * width; p < (l + 1) * width; ++p) {
      if (!selected(a.pixels, target + p * ct)) continue;
      counts[std::size_t(l)] += 1;
      for (int c = 0; c < 3; ++c) {
        const double e = double(render[p * 3 + c]) - wanted(a.colour, target + p * ct, c);
        sums[std::size_t(l)] += e * e;
      }
    }
  double sum = 0, count = 0;
  for (std::int64_t l = 0; l < lines; ++l) sum += sums[std::size_t(l)], count += counts[std::size_t(l)];
  a.loss.as<T>()[0] = T(sum / (3 * std::max(count, 1.0)));
  a.count.as<T>()[0] = T(count);
}

template <class T>
void bwd(const MseBwd& a) {
  const std::int64_t pixels = a.render.shape.rows(), ct = a.target.shape[3];
  const T* render = a.render.as<T>();
  const float* target = a.target.as<float>();
  T* drender = a.drender.as<T>();
  const double factor = 2 * a.weight / (3 * std::max(double(a.count.as<T>()[0]), 1.0));
#pragma omp parallel for
  for (std::int64_t p = 0; p < pixels; ++p)
    for (int c = 0; c < 3; ++c) {
      const double e = double(render[p * 3 + c]) - wanted(a.colour, target + p * ct, c);
      grad_write(drender[p * 3 + c], selected(a.pixels, target + p * ct) ? factor * e : 0.0, a.drender_mode);
    }
}

}  // namespace

void mse_fwd(const MseFwd& a) { a.render.dtype == DType::f64 ? fwd<double>(a) : fwd<float>(a); }
void mse_bwd(const MseBwd& a) { a.render.dtype == DType::f64 ? bwd<double>(a) : bwd<float>(a); }

}  // namespace mfl::cpu
