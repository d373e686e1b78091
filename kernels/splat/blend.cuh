// The per-pixel maths of a splat, once for both directions: they cannot disagree on a threshold. And which tiles and
// parts of tiles a splat can reach at all: exact up to a margin, and lossless, because alpha is below 1/255 outside.
#pragma once

#include <cstdint>

#include "kernels/splat/rasterize.h"

namespace mfl::cuda {

constexpr float kOpaque = 0.99f, kFaint = 1.0f / 255, kEnough = 1e-4f;
constexpr float kLog2e = 1.4426950408889634f;

// A splat in (view, depth) order, as three float4.
//   0: u, v, A, B    1: C, opacity, r, g    2: b, cut, rect, slot
// cut: the ellipse A dx^2 + 2 B dx dy + C dy^2 <= cut holds every pixel of alpha >= 1/255; infinite: unknown.
// rect: tiles of the reference's rectangle that meet the ellipse's box, packed as in ProjectFwd; its tiles' slots begin
// at slot. Both are for binning to write.
struct SortedSplat {
  float4 a, b, c;
};
__device__ inline SortedSplat load_splat(const float4* __restrict__ gSorted, std::int64_t place) {
  return {gSorted[3 * place], gSorted[3 * place + 1], gSorted[3 * place + 2]};
}

// A view's part of a chunk: its first place in the sorted splats, their number, and the chunk's entries before them.
struct Span {
  std::int32_t first, count, before;
};
// The view and the place of an entry of a chunk.
__device__ inline void locate(const Span* __restrict__ gSpan, int views, std::int64_t entry, int& view,
                              std::int64_t& place) {
  int low = 0, high = views - 1;  // the last view whose entries begin at or before this one
  while (low < high) {
    const int mid = (low + high + 1) / 2;
    if (gSpan[mid].before <= entry)
      low = mid;
    else
      high = mid - 1;
  }
  view = low;
  place = gSpan[low].first + (entry - gSpan[low].before);
}

struct TileRect {
  int x, y, columns, rows;
};
__host__ __device__ inline TileRect unpack(std::uint32_t r) {
  return {int(r & 255), int(r >> 8 & 255), int(r >> 16 & 255), int(r >> 24)};
}

// a c - b b without cancellation.
__device__ inline float determinant(float a, float b, float c) {
  const float w = b * b, error = __fmaf_rn(-b, b, w);
  return __fmaf_rn(a, c, -w) + error;
}

struct Ellipse {
  float u, v, a, b, det, cut, half_width, half_height, turn;  // turn: dy of the rightmost point
  bool known;
};
__device__ inline Ellipse ellipse_of(const SortedSplat& s) {
  Ellipse e;
  e.u = s.a.x, e.v = s.a.y, e.a = s.a.z, e.b = s.a.w, e.cut = s.c.y;
  e.det = determinant(s.a.z, s.a.w, s.b.x);
  e.known = e.cut < 1e30f && e.det > 0;
  e.half_width = sqrtf(e.cut * s.b.x / e.det);
  e.half_height = sqrtf(e.cut * s.a.z / e.det);
  e.turn = -e.b * e.half_width / s.b.x;
  return e;
}
// Columns px in [from, to] that the ellipse reaches in rows [first, last]; false: none.
__device__ inline bool ellipse_columns(const Ellipse& e, float first, float last, float& from, float& to) {
  if (!e.known) {
    from = -1e30f, to = 1e30f;
    return true;
  }
  const float pad = 0.02f + 1e-3f * (e.half_width + e.half_height);
  const float low = fmaxf(e.v - last, -e.half_height), high = fminf(e.v - first, e.half_height);
  if (low > high + pad) return false;
  const float yr = fminf(fmaxf(e.turn, low), high), yl = fminf(fmaxf(-e.turn, low), high);
  const float over = 1 / e.a;
  const float right = (-e.b * yr + sqrtf(fmaxf(e.a * e.cut - e.det * yr * yr, 0.0f))) * over;
  const float left = (-e.b * yl - sqrtf(fmaxf(e.a * e.cut - e.det * yl * yl, 0.0f))) * over;
  from = e.u - right - pad, to = e.u - left + pad;
  return true;
}
// Tiles [from, to) of tile row y that a splat reaches, within its rectangle.
__device__ inline void ellipse_tiles(const Ellipse& e, const TileRect& r, int y, int& from, int& to) {
  from = to = r.x;
  float left, right;
  if (!ellipse_columns(e, float(kSplatTile * y), float(kSplatTile * y + kSplatTile - 1), left, right)) return;
  const float first = floorf(left / kSplatTile), last = floorf(right / kSplatTile);
  from = first > float(r.x) ? (first < float(r.x + r.columns) ? int(first) : r.x + r.columns) : r.x;
  to = last < float(r.x + r.columns - 1) ? int(last) + 1 : r.x + r.columns;
  if (to < from) to = from;
}
// A tile's eight parts, 8 pixels wide and 4 high, one a warp: bit 2 * row + column of those that the splat reaches.
__device__ inline std::uint32_t tile_parts(const Ellipse& e, int tile_x, int tile_y) {
  std::uint32_t mask = 0;
#pragma unroll
  for (int row = 0; row < 4; ++row) {
    const float y = float(kSplatTile * tile_y + 4 * row), x = float(kSplatTile * tile_x);
    float left, right;
    if (!ellipse_columns(e, y, y + 3, left, right)) continue;
    if (left <= x + 7 && right >= x) mask |= 1u << (2 * row);
    if (left <= x + 15 && right >= x + 8) mask |= 2u << (2 * row);
  }
  return mask;
}

__device__ inline float exp2_fast(float x) {  // relative error 2^-22
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// What the pixel loop reads: a = {u, v, -A log2(e) / 2, -B log2(e)}, c = -C log2(e) / 2.
struct PixelWeight {
  float dx, dy, raw, alpha;  // raw: opacity * falloff, not clamped
  bool counts;               // exponent not positive, alpha at least 1/255
};
__device__ inline PixelWeight weigh(const float4& a, float c, float opacity, float px, float py) {
  PixelWeight w;
  w.dx = a.x - px, w.dy = a.y - py;
  const float power = __fmaf_rn(__fmaf_rn(a.z, w.dx, __fmul_rn(a.w, w.dy)), w.dx, __fmul_rn(__fmul_rn(c, w.dy), w.dy));
  w.raw = __fmul_rn(opacity, exp2_fast(power));
  w.alpha = fminf(kOpaque, w.raw);
  w.counts = power <= 0 && w.alpha >= kFaint;
  return w;
}

}  // namespace mfl::cuda
