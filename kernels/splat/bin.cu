// Binning: see bin.h.
//   Map        keys, gather, count and emit: one thread a splat; ranges: one thread an intersection; sorts, scans: CUB.
//   Bytes      a splat: 8 keys, 4 passes of 16 (depth), 36 + 4 + 48 gather, 24 sums, 2 x 48 count and emit; an
//              intersection: 6 emit, 2 passes of 12 (tile), 2 ranges.
//   Bound by   memory.
//   Numerics   depth by the bits of f32; ties by index.    Deterministic: yes (stable sorts, integer sums).
//   Measured   H100 SXM, 12.4 M splats, 15.2 M intersections: 2.2 ms (depth sort 0.44, gather 0.58, count 0.41,
//              emit 0.32, tile sort 0.24).
#include <algorithm>
#include <bit>
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>
#include <tuple>
#include <utility>

#include "kernels/common/launch.cuh"
#include "kernels/splat/bin.h"
#include "kernels/splat/blend.cuh"

namespace mfl::cuda {
namespace {

constexpr int kThreads = 256;
constexpr std::uint32_t kNearBits = 0x3e4ccccdu;  // bits of 0.2f

// view above depth. 32 bits hold 16 views: depths from 0.2 to 0.2 * 2^32, beyond which order is by index.
template <class Key>
struct DepthKey;
template <>
struct DepthKey<std::uint32_t> {
  static constexpr int kViewShift = 28;
  __device__ static std::uint32_t of(int view, float depth) {
    const std::uint32_t bits = __float_as_uint(depth), above = bits > kNearBits ? bits - kNearBits : 0u;
    return std::uint32_t(view) << kViewShift | min(above, (1u << kViewShift) - 2);
  }
};
template <>
struct DepthKey<std::uint64_t> {
  static constexpr int kViewShift = 32;
  __device__ static std::uint64_t of(int view, float depth) {
    return std::uint64_t(view) << kViewShift | __float_as_uint(depth);
  }
};

template <class Key>
__global__ void splat_keys_kernel(const float* __restrict__ gDepth, const std::uint32_t* __restrict__ gRect,
                                  Key* __restrict__ gKey, std::uint32_t* __restrict__ gValue, std::int64_t n,
                                  std::int64_t all) {
  const std::int64_t i = std::int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= all) return;
  gKey[i] = gRect[i] != 0 ? DepthKey<Key>::of(int(i / n), gDepth[i]) : ~Key{0};
  gValue[i] = std::uint32_t(i);
}

// First place of each view; element `views` is the number of splats seen.
template <class Key>
__global__ void splat_starts_kernel(const Key* __restrict__ gKey, std::int64_t all, int views,
                                    std::int32_t* __restrict__ gStart) {
  for (int v = threadIdx.x; v <= views; v += blockDim.x) {
    const Key key = v < views ? Key(v) << DepthKey<Key>::kViewShift : ~Key{0};
    std::int64_t low = 0, high = all;
    while (low < high) {
      const std::int64_t mid = (low + high) / 2;
      if (gKey[mid] < key)
        low = mid + 1;
      else
        high = mid;
    }
    gStart[v] = std::int32_t(low);
  }
}

// Splats into sorted order, each with its cut, its tight rectangle, and the number of its tiles.
__global__ void splat_gather_kernel(const float* __restrict__ gSplat, const std::uint32_t* __restrict__ gRect,
                                    const std::uint32_t* __restrict__ gOrder, float4* __restrict__ gSorted,
                                    std::int64_t* __restrict__ gTiles, std::int64_t all) {
  const std::int64_t place = std::int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (place >= all) return;
  const std::int64_t i = gOrder[place];
  const std::uint32_t packed = gRect[i];
  if (packed == 0) {
    gTiles[place] = 0;
    return;
  }
  float x[kSplatSize];
#pragma unroll
  for (int e = 0; e < kSplatSize; ++e) x[e] = gSplat[kSplatSize * i + e];
  TileRect r = unpack(packed);
  // alpha >= 1/255 where the quadratic form is at most 2 ln(255 opacity). The margin covers the rounding of the
  // exponent, whose terms cancel in long ellipses, and that of the exponential.
  float cut = 2 * logf(255 * x[5]) + 1e-3f;
  const float det = determinant(x[2], x[3], x[4]);
  if (!(cut > 0)) {
    r.columns = r.rows = 0;
  } else if (det > 0) {
    cut += 8e-6f * cut * (x[2] * x[4] / det);
    SortedSplat s{{x[0], x[1], x[2], x[3]}, {x[4], x[5], x[6], x[7]}, {x[8], cut, 0, 0}};
    const Ellipse e = ellipse_of(s);
    auto clip = [](float centre, float half, int& first, int& count) {
      const float pad = 0.02f + 1e-3f * half;
      const float from = floorf((centre - half - pad) / kSplatTile), to = floorf((centre + half + pad) / kSplatTile);
      const int end = first + count;
      const int a = from > float(first) ? (from < float(end) ? int(from) : end) : first;
      const int b = to < float(end - 1) ? int(to) + 1 : end;
      first = a, count = b > a ? b - a : 0;
    };
    clip(x[0], e.half_width, r.x, r.columns);
    clip(x[1], e.half_height, r.y, r.rows);
  } else {
    cut = __int_as_float(0x7f800000);
  }
  if (r.columns == 0 || r.rows == 0) r = {0, 0, 0, 0};
  const std::uint32_t tight =
      std::uint32_t(r.x) | std::uint32_t(r.y) << 8 | std::uint32_t(r.columns) << 16 | std::uint32_t(r.rows) << 24;
  gSorted[3 * place] = {x[0], x[1], x[2], x[3]};
  gSorted[3 * place + 1] = {x[4], x[5], x[6], x[7]};
  gSorted[3 * place + 2] = {x[8], cut, __uint_as_float(tight), 0};
  gTiles[place] = std::int64_t(r.columns) * r.rows;
}

// Inclusive sums of the tiles of every splat before a place.
__device__ inline std::int64_t tiles_before(const std::int64_t* gSums, std::int64_t place) {
  return place > 0 ? gSums[place - 1] : 0;
}

// The next chunk of every view: all that is left if that fits the budget, else an equal share of it for each view.
// One block. gHeader: entries, tiles of their rectangles, entries after the chunk.
__global__ void splat_plan_kernel(const std::int64_t* __restrict__ gSums, const std::int32_t* __restrict__ gStart,
                                  const Span* __restrict__ gSpanBefore, Span* __restrict__ gSpan,
                                  std::int64_t* __restrict__ gHeader, int views, std::int64_t budget,
                                  std::int64_t share) {
  __shared__ unsigned long long sLeft;
  if (threadIdx.x == 0) sLeft = 0;
  __syncthreads();
  for (int v = threadIdx.x; v < views; v += blockDim.x) {
    const std::int32_t first = gSpanBefore ? gSpanBefore[v].first + gSpanBefore[v].count : gStart[v];
    gSpan[v].first = first;
    atomicAdd(&sLeft, static_cast<unsigned long long>(tiles_before(gSums, gStart[v + 1]) - tiles_before(gSums, first)));
  }
  __syncthreads();
  const bool everything = std::int64_t(sLeft) <= budget;
  for (int v = threadIdx.x; v < views; v += blockDim.x) {
    const std::int64_t first = gSpan[v].first, end = gStart[v + 1];
    std::int64_t low = first, high = end;
    if (everything) low = end;
    const std::int64_t limit = tiles_before(gSums, first) + share;
    while (low < high && !everything) {  // the longest run whose tiles are at most the share
      const std::int64_t mid = (low + high) / 2;
      if (gSums[mid] <= limit)
        low = mid + 1;
      else
        high = mid;
    }
    gSpan[v].count = std::int32_t(low - first);
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  std::int64_t entries = 0, tiles = 0, rest = 0;
  for (int v = 0; v < views; ++v) {
    const std::int64_t first = gSpan[v].first, end = first + gSpan[v].count;
    gSpan[v].before = std::int32_t(entries);
    entries += end - first;
    tiles += tiles_before(gSums, end) - tiles_before(gSums, first);
    rest += gStart[v + 1] - end;
  }
  gHeader[0] = entries, gHeader[1] = tiles, gHeader[2] = rest;
}

// Per view, the number of open tiles above and left of (x, y): [V, tiles_y + 1, tiles_x + 1]. One block a view.
__global__ void splat_open_sums_kernel(const std::uint8_t* __restrict__ gOpen, std::int32_t* __restrict__ gSums,
                                       int tiles_x, int tiles_y, std::int64_t* __restrict__ gHeader) {
  const std::uint8_t* open = gOpen + std::int64_t(blockIdx.x) * tiles_x * tiles_y;
  const int pitch = tiles_x + 1;
  std::int32_t* sums = gSums + std::int64_t(blockIdx.x) * pitch * (tiles_y + 1);
  for (int y = threadIdx.x; y <= tiles_y; y += blockDim.x) {
    std::int32_t sum = 0;
    sums[y * pitch] = 0;
    for (int x = 0; x < tiles_x; ++x) {
      if (y > 0) sum += open[(y - 1) * tiles_x + x];
      sums[y * pitch + x + 1] = sum;
    }
  }
  __syncthreads();
  for (int x = threadIdx.x; x <= tiles_x; x += blockDim.x)
    for (int y = 1; y <= tiles_y; ++y) sums[y * pitch + x] += sums[(y - 1) * pitch + x];
  __syncthreads();
  if (threadIdx.x == 0)
    atomicAdd(reinterpret_cast<unsigned long long*>(gHeader + 3),
              static_cast<unsigned long long>(sums[tiles_y * pitch + tiles_x]));
}

struct ChunkInputs {
  float4* sorted;
  const Span* span;
  const std::uint8_t* open;  // null: every tile
  const std::int32_t* open_sums;
  std::int64_t entries;
  int views, tiles_x, tiles_y;
};

// Calls f(tile of the view) for every open tile that the splat reaches, in row-major order.
template <class F>
__device__ inline void for_tiles(const ChunkInputs& in, int view, const SortedSplat& s, F&& f) {
  const TileRect r = unpack(__float_as_uint(s.c.z));
  if (r.rows == 0) return;
  if (in.open) {
    const int pitch = in.tiles_x + 1;
    const std::int32_t* q = in.open_sums + std::int64_t(view) * pitch * (in.tiles_y + 1);
    const int top = r.y * pitch, bottom = (r.y + r.rows) * pitch;
    if (q[bottom + r.x + r.columns] - q[bottom + r.x] - q[top + r.x + r.columns] + q[top + r.x] == 0) return;
  }
  const std::uint8_t* open = in.open ? in.open + std::int64_t(view) * in.tiles_x * in.tiles_y : nullptr;
  const Ellipse e = ellipse_of(s);
  for (int y = r.y; y < r.y + r.rows; ++y) {
    int from, to;
    ellipse_tiles(e, r, y, from, to);
    for (int x = from; x < to; ++x)
      if (!open || open[y * in.tiles_x + x]) f(y * in.tiles_x + x);
  }
}

// Intersections of an entry; and its slots: the tiles of its rectangle, none if it reaches no open tile.
__global__ void splat_count_kernel(ChunkInputs in, std::uint32_t* __restrict__ gCount,
                                   std::uint32_t* __restrict__ gSlots) {
  const std::int64_t entry = std::int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (entry >= in.entries) return;
  int view;
  std::int64_t place;
  locate(in.span, in.views, entry, view, place);
  const SortedSplat s = load_splat(in.sorted, place);
  const TileRect r = unpack(__float_as_uint(s.c.z));
  std::uint32_t count = 0;
  for_tiles(in, view, s, [&](int) { ++count; });
  gCount[entry] = count;
  gSlots[entry] = count ? std::uint32_t(r.columns * r.rows) : 0;
}

// gSum, gSlotSum: inclusive sums of the counts and slots. An entry without intersections loses its rectangle.
template <class Key>
__global__ void splat_emit_kernel(ChunkInputs in, const std::uint32_t* __restrict__ gSum,
                                  const std::uint32_t* __restrict__ gSlotSum, Key* __restrict__ gKey,
                                  std::uint32_t* __restrict__ gValue) {
  const std::int64_t entry = std::int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (entry >= in.entries) return;
  int view;
  std::int64_t place;
  locate(in.span, in.views, entry, view, place);
  std::uint32_t at = entry > 0 ? gSum[entry - 1] : 0;
  if (gSum[entry] == at) {
    in.sorted[3 * place + 2].z = __uint_as_float(0);
    return;
  }
  const SortedSplat s = load_splat(in.sorted, place);
  in.sorted[3 * place + 2].w = __uint_as_float(entry > 0 ? gSlotSum[entry - 1] : 0);
  const int tiles = in.tiles_x * in.tiles_y;
  for_tiles(in, view, s, [&](int tile) {
    gKey[at] = Key(view * tiles + tile);
    gValue[at] = std::uint32_t(place);
    ++at;
  });
}

template <class Key>
__global__ void splat_ranges_kernel(const Key* __restrict__ gKey, std::int64_t n, int2* __restrict__ gRange) {
  const std::int64_t i = std::int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= n) return;
  const Key key = gKey[i];
  if (i == 0 || gKey[i - 1] != key) gRange[key].x = int(i);
  if (i == n - 1 || gKey[i + 1] != key) gRange[key].y = int(i + 1);
}

unsigned blocks(std::int64_t n) { return unsigned(ceil_div(n, std::int64_t(kThreads))); }

template <class T>
T* raw(const Tensor& t) {
  return static_cast<T*>(View(t).data);
}

// CUB's two-step protocol with memory of the arena.
template <class F>
void with_temporary(Arena& arena, const char* what, F&& f) {
  std::size_t bytes = 0;
  MFL_CUDA(f(static_cast<void*>(nullptr), bytes));
  Tensor temporary = arena.empty({std::int64_t(bytes) + 1}, DType::u8, {what});
  MFL_CUDA(f(View(temporary).data, bytes));
}

DType integer(std::size_t bytes) { return bytes == 8 ? DType::i64 : DType::i32; }
// 16-bit keys live in half as many 32-bit elements.
template <class Key>
Tensor key_buffer(Arena& arena, std::int64_t n, const char* what) {
  const std::int64_t bytes = n * std::int64_t(sizeof(Key));
  return sizeof(Key) == 2 ? arena.empty({bytes}, DType::u8, {what}) : arena.empty({n}, integer(sizeof(Key)), {what});
}

// Sorts pairs by the lowest `bits` of the key, stably; returns the sorted keys and values.
template <class Key>
std::pair<Tensor, Tensor> sort_pairs(const Stream& s, Arena& arena, Tensor key, Tensor value, std::int64_t n,
                                     int bits) {
  Tensor other_key = key_buffer<Key>(arena, n, "sort keys"),
         other_value = arena.empty({n}, DType::i32, {"sort values"});
  cub::DoubleBuffer<Key> keys(raw<Key>(key), raw<Key>(other_key));
  cub::DoubleBuffer<std::uint32_t> values(raw<std::uint32_t>(value), raw<std::uint32_t>(other_value));
  with_temporary(arena, "sort scratch", [&](void* p, std::size_t& bytes) {
    return cub::DeviceRadixSort::SortPairs(p, bytes, keys, values, int(n), 0, bits, native(s));
  });
  return {keys.selector == 0 ? key : other_key, values.selector == 0 ? value : other_value};
}

template <class Key>
void sort_by_depth(const Stream& s, Arena& arena, const RasterizeFwd& a, Tensor& order, const Tensor& starts) {
  const std::int64_t views = a.splat.shape[0], n = a.splat.shape[1], all = views * n;
  Tensor key = key_buffer<Key>(arena, all, "depth keys");
  order = arena.empty({all}, DType::i32, {"splat order"});
  splat_keys_kernel<<<blocks(all), kThreads, 0, native(s)>>>(pointer<float>(a.depth),
                                                             static_cast<const std::uint32_t*>(a.rect.data),
                                                             raw<Key>(key), raw<std::uint32_t>(order), n, all);
  check_launch("splat_keys_kernel", s);
  const int bits = DepthKey<Key>::kViewShift + std::bit_width(static_cast<unsigned>(views - 1));
  std::tie(key, order) = sort_pairs<Key>(s, arena, key, order, all, bits);
  splat_starts_kernel<<<1, 128, 0, native(s)>>>(raw<const Key>(key), all, int(views), raw<std::int32_t>(starts));
  check_launch("splat_starts_kernel", s);
}

template <class Key>
void list_by_tile(const Stream& s, Arena& arena, const ChunkInputs& in, const Tensor& sums, const Tensor& slot_sums,
                  std::int64_t n, RasterizeState::Chunk& chunk) {
  Tensor key = key_buffer<Key>(arena, n, "tile keys"), value = arena.empty({n}, DType::i32, {"intersections"});
  splat_emit_kernel<<<blocks(in.entries), kThreads, 0, native(s)>>>(in, raw<const std::uint32_t>(sums),
                                                                    raw<const std::uint32_t>(slot_sums), raw<Key>(key),
                                                                    raw<std::uint32_t>(value));
  check_launch("splat_emit_kernel", s);
  const int bits = std::max(1, int(std::bit_width(static_cast<unsigned>(in.views * in.tiles_x * in.tiles_y - 1))));
  std::tie(key, value) = sort_pairs<Key>(s, arena, key, value, n, bits);
  splat_ranges_kernel<<<blocks(n), kThreads, 0, native(s)>>>(raw<const Key>(key), n, raw<int2>(chunk.ranges));
  check_launch("splat_ranges_kernel", s);
  chunk.list = value;
}

}  // namespace

struct SplatBins::Header {
  std::int64_t entries, tiles, rest, open;
};

SplatBins::Header SplatBins::read_header() {
  Header h;
  copy(stream_, header_, make_view(static_cast<void*>(&h), {4}, DType::i64));
  stream_.synchronize();
  return h;
}

SplatBins::SplatBins(const Stream& s, Arena& arena, const RasterizeFwd& a, RasterizeState& state)
    : stream_(s),
      arena_(arena),
      views_(a.splat.shape[0]),
      tiles_x_(int(ceil_div(a.image.shape[2], std::int64_t(kSplatTile)))),
      tiles_y_(int(ceil_div(a.image.shape[1], std::int64_t(kSplatTile)))) {
  const std::int64_t all = views_ * a.splat.shape[1];
  // A view's share must hold at least one splat that covers the whole image.
  budget_ = std::max(a.chunk, views_ * tiles_x_ * tiles_y_);
  MFL_CHECK(budget_ < (std::int64_t{1} << 31), "rasterize_fwd: a chunk of ", budget_,
            " intersections; at most 2^31 - 1");
  header_ = arena.empty({4}, DType::i64, {"chunk header"});
  fill_zero(s, header_);
  starts_ = arena.empty({views_ + 1}, DType::i32, {"view starts"});
  sums_ = arena.empty({all}, DType::i64, {"rectangle sums"});
  if (all == 0) {
    fill_zero(s, starts_);
    state.order = arena.empty({0}, DType::i32, {"splat order"});
    sorted_ = state.sorted = arena.empty({0, 12}, DType::f32, {"sorted splats"});
    return;
  }
  if (views_ <= 16)
    sort_by_depth<std::uint32_t>(s, arena, a, state.order, starts_);
  else
    sort_by_depth<std::uint64_t>(s, arena, a, state.order, starts_);
  state.sorted = arena.empty({all, 12}, DType::f32, {"sorted splats"});
  sorted_ = state.sorted;
  splat_gather_kernel<<<blocks(all), kThreads, 0, native(s)>>>(
      pointer<float>(a.splat), static_cast<const std::uint32_t*>(a.rect.data), raw<const std::uint32_t>(state.order),
      raw<float4>(sorted_), raw<std::int64_t>(sums_), all);
  check_launch("splat_gather_kernel", s);
  with_temporary(arena, "scan scratch", [&](void* p, std::size_t& bytes) {
    return cub::DeviceScan::InclusiveSum(p, bytes, raw<std::int64_t>(sums_), raw<std::int64_t>(sums_), int(all),
                                         native(s));
  });
}

bool SplatBins::next(ConstView open, RasterizeState::Chunk& chunk) {
  const Stream& s = stream_;
  const bool first = !spans_;
  const std::int64_t tiles = std::int64_t(tiles_x_) * tiles_y_;
  Tensor open_sums;
  if (!first) {
    fill_zero(s, header_);
    open_sums = arena_.empty({views_, tiles_y_ + 1, tiles_x_ + 1}, DType::i32, {"open tiles"});
    splat_open_sums_kernel<<<unsigned(views_), 256, 0, native(s)>>>(static_cast<const std::uint8_t*>(open.data),
                                                                    raw<std::int32_t>(open_sums), tiles_x_, tiles_y_,
                                                                    raw<std::int64_t>(header_));
    check_launch("splat_open_sums_kernel", s);
  }
  chunk.spans = arena_.empty({views_, 3}, DType::i32, {"chunk spans"});
  splat_plan_kernel<<<1, 128, 0, native(s)>>>(raw<const std::int64_t>(sums_), raw<const std::int32_t>(starts_),
                                              first ? nullptr : raw<const Span>(spans_), raw<Span>(chunk.spans),
                                              raw<std::int64_t>(header_), int(views_), budget_, budget_ / views_);
  check_launch("splat_plan_kernel", s);
  const Header plan = read_header();
  if (!first && (plan.entries == 0 || plan.open == 0)) return false;
  spans_ = chunk.spans;
  chunk.entries = plan.entries;
  finished_ = plan.rest == 0;
  chunk.ranges = arena_.empty({views_ * tiles, 2}, DType::i32, {"tile ranges"});
  fill_zero(s, chunk.ranges);
  if (plan.tiles == 0) return true;
  const ChunkInputs in{raw<float4>(sorted_),
                       raw<const Span>(chunk.spans),
                       first ? nullptr : static_cast<const std::uint8_t*>(open.data),
                       first ? nullptr : raw<const std::int32_t>(open_sums),
                       plan.entries,
                       int(views_),
                       tiles_x_,
                       tiles_y_};
  Tensor counts = arena_.empty({plan.entries}, DType::i32, {"intersection counts"}),
         slots = arena_.empty({plan.entries}, DType::i32, {"slot counts"});
  splat_count_kernel<<<blocks(plan.entries), kThreads, 0, native(s)>>>(in, raw<std::uint32_t>(counts),
                                                                       raw<std::uint32_t>(slots));
  check_launch("splat_count_kernel", s);
  std::int32_t n = 0, slot_count = 0;
  for (const auto& [sums, total] : {std::pair(&counts, &n), std::pair(&slots, &slot_count)}) {
    std::uint32_t* data = raw<std::uint32_t>(*sums);
    with_temporary(arena_, "scan scratch", [&](void* p, std::size_t& bytes) {
      return cub::DeviceScan::InclusiveSum(p, bytes, data, data, int(plan.entries), native(s));
    });
    copy(s, sums->rows(plan.entries - 1, 1), make_view(static_cast<void*>(total), {1}, DType::i32));
  }
  s.synchronize();
  chunk.slots = slot_count;
  if (n == 0) return true;
  if (views_ * tiles <= 65536)
    list_by_tile<std::uint16_t>(s, arena_, in, counts, slots, n, chunk);
  else
    list_by_tile<std::uint32_t>(s, arena_, in, counts, slots, n, chunk);
  return true;
}

}  // namespace mfl::cuda
