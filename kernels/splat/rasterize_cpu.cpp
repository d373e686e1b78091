#include <algorithm>
#include <vector>

#include "kernels/common/dispatch.h"
#include "kernels/common/grad_write.h"
#include "kernels/splat/pixel_cpu.h"

namespace mfl::cpu {
namespace {

template <class T>
void fwd(Arena& arena, const RasterizeFwd& a, RasterizeState* saved) {
  const std::int64_t views = a.splat.shape[0], n = a.splat.shape[1];
  const int height = int(a.image.shape[1]), width = int(a.image.shape[2]);
  const std::int64_t pixels = std::int64_t(height) * width;
  const DType t = a.splat.dtype;
  RasterizeState state;
  state.order = arena.empty({views, n}, DType::i32, {"splat order"});
  state.sorted = arena.empty({views * n, kSplatSize}, t, {"sorted splats"});
  state.rects = arena.empty({views, n}, DType::i32, {"sorted rectangles"});
  state.last = arena.empty({views, height, width}, DType::i32, {"last contributor"});
  state.transmittance = arena.empty({views, height, width}, t, {"transmittance"});
  const T *splat = a.splat.as<T>(), *depth = a.depth.as<T>();
  const std::int32_t* rect = a.rect.as<std::int32_t>();
  std::int32_t *order = state.order.data<std::int32_t>(), *rects = state.rects.data<std::int32_t>();
  T* sorted = state.sorted.data<T>();
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t v = 0; v < views; ++v) {
    const auto keys = by_depth(depth + v * n, rect + v * n, n);
    for (std::int64_t r = 0; r < n; ++r) {
      const std::int64_t i = r < std::int64_t(keys.size()) ? keys[std::size_t(r)].second : -1;
      order[v * n + r] = std::int32_t(i);
      rects[v * n + r] = i < 0 ? 0 : rect[v * n + i];
      for (int e = 0; e < kSplatSize; ++e)
        sorted[kSplatSize * (v * n + r) + e] = i < 0 ? T(0) : splat[kSplatSize * (v * n + i) + e];
    }
  }
  const int bands = (height + kSplatTile - 1) / kSplatTile;
  T *image = a.image.as<T>(), *transmittance = state.transmittance.data<T>();
  std::int32_t* last = state.last.data<std::int32_t>();
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t job = 0; job < views * bands; ++job) {
    const std::int64_t v = job / bands;
    const int row0 = int(job % bands) * kSplatTile, row1 = std::min(height, row0 + kSplatTile);
    std::vector<unsigned char> done(std::size_t(pixels), 0);
    for (std::int64_t p = v * pixels + row0 * width; p < v * pixels + row1 * width; ++p)
      transmittance[p] = 1, last[p] = 0, image[3 * p] = image[3 * p + 1] = image[3 * p + 2] = 0;
    for (std::int64_t r = 0; r < n && order[v * n + r] >= 0; ++r) {
      const T* s = sorted + kSplatSize * (v * n + r);
      const std::uint32_t tiles = std::uint32_t(rects[v * n + r]);
      if (int((tiles >> 8 & 255) * kSplatTile) >= row1 ||
          int(((tiles >> 8 & 255) + (tiles >> 24)) * kSplatTile) <= row0)
        continue;
      const Box b = reach(s, tiles, width, row0, row1);
      const T faint = b.x1 > b.x0 && b.y1 > b.y0 ? faint_power(s) : T(0);
      for (int y = b.y0; y < b.y1; ++y)
        for (int x = b.x0; x < b.x1; ++x) {
          const std::int64_t local = std::int64_t(y) * width + x, p = v * pixels + local;
          if (done[std::size_t(local)]) continue;
          const Weight<T> w = weigh(s, faint, x, y);
          if (w.alpha == 0) continue;
          const T next = transmittance[p] * (1 - w.alpha);
          if (next < T(kEnough)) {
            done[std::size_t(local)] = 1;
            continue;
          }
          for (int c = 0; c < 3; ++c) image[3 * p + c] += s[6 + c] * w.alpha * transmittance[p];
          transmittance[p] = next;
          last[p] = std::int32_t(r) + 1;
        }
    }
    for (std::int64_t p = v * pixels + row0 * width; p < v * pixels + row1 * width; ++p)
      for (int c = 0; c < 3; ++c) image[3 * p + c] += transmittance[p] * T(a.background[c]);
  }
  if (saved) *saved = std::move(state);
}

// Back to front, with T recovered by division and the colour behind accumulated, as the reference does.
template <class T>
void bwd(const RasterizeBwd& a, const RasterizeState& state) {
  const std::int64_t views = a.dsplat.shape[0], n = a.dsplat.shape[1];
  const int height = int(a.image.shape[1]), width = int(a.image.shape[2]);
  const std::int64_t pixels = std::int64_t(height) * width;
  const T *sorted = state.sorted.data<T>(), *g = a.dimage.as<T>(), *end = state.transmittance.data<T>();
  const std::int32_t *order = state.order.data<std::int32_t>(), *rects = state.rects.data<std::int32_t>(),
                     *last = state.last.data<std::int32_t>();
  T* dsplat = a.dsplat.as<T>();
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t v = 0; v < views; ++v) {
    if (a.mode == GradMode::overwrite) std::fill_n(dsplat + v * n * kSplatSize, n * kSplatSize, T(0));
    std::vector<T> through(end + v * pixels, end + (v + 1) * pixels), behind(std::size_t(3 * pixels), T(0));
    std::int64_t r = 0;
    while (r < n && order[v * n + r] >= 0) ++r;
    for (--r; r >= 0; --r) {
      const T* s = sorted + kSplatSize * (v * n + r);
      const Box b = reach(s, std::uint32_t(rects[v * n + r]), width, 0, height);
      if (b.x1 <= b.x0 || b.y1 <= b.y0) continue;
      const T faint = faint_power(s);
      double sum[kSplatSize] = {};
      for (int y = b.y0; y < b.y1; ++y)
        for (int x = b.x0; x < b.x1; ++x) {
          const std::int64_t local = std::int64_t(y) * width + x, p = v * pixels + local;
          if (last[p] <= r) continue;
          const Weight<T> w = weigh(s, faint, x, y);
          if (w.alpha == 0) continue;
          T& transmittance = through[std::size_t(local)];
          transmittance /= 1 - w.alpha;
          T dalpha = 0, to_background = 0;
          for (int c = 0; c < 3; ++c) {
            T& colour = behind[std::size_t(3 * local + c)];
            dalpha += (s[6 + c] - colour) * g[3 * p + c];
            to_background += T(a.background[c]) * g[3 * p + c];
            sum[6 + c] += double(w.alpha * transmittance * g[3 * p + c]);
            colour = w.alpha * s[6 + c] + (1 - w.alpha) * colour;
          }
          dalpha = dalpha * transmittance - end[p] / (1 - w.alpha) * to_background;
          const T dpower = s[5] * w.falloff * dalpha;  // 0.99 is not differentiated
          sum[0] -= double(dpower * (s[2] * w.dx + s[3] * w.dy));
          sum[1] -= double(dpower * (s[4] * w.dy + s[3] * w.dx));
          sum[2] -= double(dpower * w.dx * w.dx) / 2;
          sum[3] -= double(dpower * w.dx * w.dy);
          sum[4] -= double(dpower * w.dy * w.dy) / 2;
          sum[5] += double(w.falloff * dalpha);
        }
      T* d = dsplat + kSplatSize * (v * n + order[v * n + r]);
      for (int e = 0; e < kSplatSize; ++e) grad_write(d[e], sum[e], GradMode::accumulate);
    }
  }
}

}  // namespace

void rasterize_fwd(Arena& arena, const RasterizeFwd& a, RasterizeState* saved) {
  if (a.splat.dtype == DType::f64)
    fwd<double>(arena, a, saved);
  else
    fwd<float>(arena, a, saved);
}
void rasterize_bwd(const RasterizeBwd& a, const RasterizeState& state) {
  if (a.image.dtype == DType::f64)
    bwd<double>(a, state);
  else
    bwd<float>(a, state);
}

}  // namespace mfl::cpu
