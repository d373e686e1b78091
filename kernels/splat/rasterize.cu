// Rasterizing, forward and backward.
//   Map        one block of 8 warps a tile, a warp on 8x4 pixels, a thread on one. The block loads splats of the tile's
//              list into shared memory, each with a mask of the warps whose pixels it can reach; a warp walks the set
//              bits of its own mask only. Chunks (bin.h) are one launch each; pixels carry colour and T between them.
//   Backward   front to back too, so that neither T nor the lists are walked twice: what a pixel receives from behind
//              splat i is (its colour - what came so far) . g. A warp sums the nine moments of a splat over its pixels
//              by folding, the block adds its warps in their order and writes them to the (splat, tile) slot; a second
//              kernel adds a splat's slots in their order and turns the moments into gradients.
//   Bytes      an intersection: 4 + 48 forward; 4 + 48 + 3 x 36 backward (slots cleared, written, read).
//   Bound by   instruction issue.
//   Numerics   f32; the exponential is ex2.approx.    Deterministic: yes, no atomics on floats.
//   Measured   H100 SXM, 1,572,866 Gaussians, 8 views of 512x512 (bench_splat), projection and binning included.
//              Trained scene: 4.7 ms forward, 8.0 backward (15.2 M intersections; the pixel kernels 1.9 and 5.6, the
//              sum 1.7). Initialised scene: 14.1 and 19.4 (18 chunks, 38 M intersections). Before splats that reach no open
//              tile lost their gradient slots its backward took 32.3.
#include "kernels/splat/tile.cuh"

namespace mfl::cuda {
namespace {

constexpr int kForwardBatch = 256, kBackwardBatch = 64;

// gPixel [V, H, W]: r, g, b, T; T is negative once the pixel has stopped.
__global__ void __launch_bounds__(kThreads)
    rasterize_fwd_kernel(const float4* __restrict__ gSorted, const std::int32_t* __restrict__ gList,
                         const int2* __restrict__ gRange, Grid grid, float4* __restrict__ gPixel,
                         std::int32_t* __restrict__ gLast, std::int32_t* __restrict__ gSeen,
                         std::uint8_t* __restrict__ gOpen, bool first) {
  __shared__ float4 sA[kForwardBatch], sB[kForwardBatch];
  __shared__ float sBlue[kForwardBatch];
  __shared__ std::uint32_t sParts[kForwardBatch];
  const int2 range = gRange[blockIdx.x];
  const int n = range.y - range.x;
  if (!first && n == 0) return;
  const Place at = place_of(grid.tiles_x, grid.tiles_y, grid.height, grid.width);
  const int seen = first ? 0 : gSeen[blockIdx.x];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const float px = float(at.x), py = float(at.y);
  float4 state{0, 0, 0, 1};
  int last = 0;
  if (!first && at.inside) state = gPixel[at.pixel], last = gLast[at.pixel];
  bool done = !at.inside || state.w < 0;
  float t = fabsf(state.w);
  for (int batch = 0; batch < n; batch += kForwardBatch) {
    if (__syncthreads_and(done)) break;
    const int count = min(kForwardBatch, n - batch);
    if (int(threadIdx.x) < count) {
      const SharedSplat s = prepare(load_splat(gSorted, gList[range.x + batch + threadIdx.x]), at.tile_x, at.tile_y);
      sA[threadIdx.x] = s.a, sB[threadIdx.x] = s.b, sBlue[threadIdx.x] = s.blue, sParts[threadIdx.x] = s.parts;
    }
    __syncthreads();
    for (int group = 0; group < count; group += 32) {
      if (__all_sync(0xffffffffu, done)) break;
      const bool mine = group + lane < count && (sParts[group + lane] >> warp & 1);
      std::uint32_t bits = __ballot_sync(0xffffffffu, mine);
      while (bits) {
        const int j = group + __ffs(int(bits)) - 1;
        bits &= bits - 1;
        const float4 a = sA[j], b = sB[j];
        const PixelWeight w = weigh(a, b.x, b.y, px, py);
        if (done || !w.counts) continue;
        const float next = t * (1 - w.alpha);
        if (next < kEnough) {
          done = true;
          continue;
        }
        const float share = w.alpha * t;
        state.x += b.z * share, state.y += b.w * share, state.z += sBlue[j] * share;
        t = next;
        last = seen + batch + j + 1;
      }
    }
  }
  if (at.inside) {
    state.w = done ? -t : t;
    gPixel[at.pixel] = state;
    gLast[at.pixel] = last;
  }
  const int open = __syncthreads_or(!done);
  if (threadIdx.x == 0) {
    gOpen[blockIdx.x] = open ? 1 : 0;
    gSeen[blockIdx.x] = seen + n;
  }
}

__global__ void rasterize_finish_kernel(const float4* __restrict__ gPixel, float* __restrict__ gImage,
                                        std::int64_t pixels, float r, float g, float b) {
  const std::int64_t i = std::int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= pixels) return;
  const float4 p = gPixel[i];
  const float t = fabsf(p.w);
  gImage[3 * i] = p.x + t * r, gImage[3 * i + 1] = p.y + t * g, gImage[3 * i + 2] = p.z + t * b;
}

// Sums v[0..7] over the warp; lane l then holds the sum of v[l >> 2 & 7] (bit 4: which half, and so on). Fixed order.
__device__ inline float fold8(float (&v)[8], int lane) {
#pragma unroll
  for (int half = 4, bit = 16; half > 0; half /= 2, bit /= 2) {
    const bool upper = lane & bit;
#pragma unroll
    for (int j = 0; j < half; ++j) {
      const float send = upper ? v[j] : v[j + half], keep = upper ? v[j + half] : v[j];
      v[j] = keep + __shfl_xor_sync(0xffffffffu, send, bit);
    }
  }
  v[0] += __shfl_xor_sync(0xffffffffu, v[0], 2);
  v[0] += __shfl_xor_sync(0xffffffffu, v[0], 1);
  return v[0];
}

// gPixel [V, H, W]: T and what is still to come, (colour behind) . g. gSlot [slots, 9]: q, q dx, q dy, q dx^2, q dx dy,
// q dy^2 with q = dL/dpower, then dL/drgb; summed over the tile's pixels.
__global__ void __launch_bounds__(kThreads)
    rasterize_bwd_kernel(const float4* __restrict__ gSorted, const std::int32_t* __restrict__ gList,
                         const int2* __restrict__ gRange, Grid grid, const float* __restrict__ gImage,
                         const float* __restrict__ gDimage, const std::int32_t* __restrict__ gLast,
                         float2* __restrict__ gPixel, std::int32_t* __restrict__ gSeen, float* __restrict__ gSlot,
                         bool first, bool more) {
  __shared__ float4 sA[kBackwardBatch], sB[kBackwardBatch];
  __shared__ float sBlue[kBackwardBatch];
  __shared__ std::uint32_t sParts[kBackwardBatch], sSlot[kBackwardBatch];
  __shared__ float sSum[kWarps][kBackwardBatch * kSplatSize];
  __shared__ std::uint32_t sHit[kWarps][kBackwardBatch / 32];
  __shared__ int sLimit[kWarps];
  const int2 range = gRange[blockIdx.x];
  const int n = range.y - range.x;
  const Place at = place_of(grid.tiles_x, grid.tiles_y, grid.height, grid.width);
  const int seen = first ? 0 : gSeen[blockIdx.x];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int limit = at.inside ? min(gLast[at.pixel] - seen, n) : 0;  // splats of this chunk that the pixel reached
  int warp_limit = limit;
#pragma unroll
  for (int bit = 16; bit > 0; bit /= 2) warp_limit = max(warp_limit, __shfl_xor_sync(0xffffffffu, warp_limit, bit));
  if (lane == 0) sLimit[warp] = warp_limit;
  __syncthreads();
  int tile_limit = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) tile_limit = max(tile_limit, sLimit[w]);
  if (threadIdx.x == 0 && more) gSeen[blockIdx.x] = seen + n;
  if (tile_limit <= 0 && !(first && more)) return;

  float g[3] = {0, 0, 0}, t = 1, rest = 0;
  if (at.inside) {
#pragma unroll
    for (int c = 0; c < 3; ++c) g[c] = gDimage[3 * at.pixel + c];
    if (first) {
#pragma unroll
      for (int c = 0; c < 3; ++c) rest += gImage[3 * at.pixel + c] * g[c];
    } else {
      const float2 state = gPixel[at.pixel];
      t = state.x, rest = state.y;
    }
  }
  const float px = float(at.x), py = float(at.y);
  for (int batch = 0; batch < tile_limit; batch += kBackwardBatch) {
    const int count = min(kBackwardBatch, tile_limit - batch);
    if (int(threadIdx.x) < count) {
      const SortedSplat in = load_splat(gSorted, gList[range.x + batch + threadIdx.x]);
      const SharedSplat s = prepare(in, at.tile_x, at.tile_y);
      const TileRect r = unpack(__float_as_uint(in.c.z));
      sA[threadIdx.x] = s.a, sB[threadIdx.x] = s.b, sBlue[threadIdx.x] = s.blue, sParts[threadIdx.x] = s.parts;
      sSlot[threadIdx.x] = __float_as_uint(in.c.w) + std::uint32_t((at.tile_y - r.y) * r.columns + (at.tile_x - r.x));
    }
    __syncthreads();
#pragma unroll
    for (int group = 0; group < kBackwardBatch; group += 32) {
      std::uint32_t hit = 0;
      const bool mine = group + lane < count && batch + group + lane < warp_limit && (sParts[group + lane] >> warp & 1);
      std::uint32_t bits = __ballot_sync(0xffffffffu, mine);
      while (bits) {
        const int in_group = __ffs(int(bits)) - 1, j = group + in_group;
        bits &= bits - 1;
        const float4 a = sA[j], b = sB[j];
        const PixelWeight w = weigh(a, b.x, b.y, px, py);
        const bool counts = w.counts && batch + j < limit;
        if (!__any_sync(0xffffffffu, counts)) continue;
        float v[8] = {0, 0, 0, 0, 0, 0, 0, 0}, blue = 0;
        if (counts) {
          const float share = w.alpha * t, colour = b.z * g[0] + b.w * g[1] + sBlue[j] * g[2], left = 1 - w.alpha;
          rest -= share * colour;
          const float q = w.raw * (t * colour - __fdividef(rest, left));  // the clamp at 0.99 is not differentiated
          t *= left;
          v[0] = q, v[1] = q * w.dx, v[2] = q * w.dy;
          v[3] = v[1] * w.dx, v[4] = v[1] * w.dy, v[5] = v[2] * w.dy;
          v[6] = share * g[0], v[7] = share * g[1], blue = share * g[2];
        }
        const float sum = fold8(v, lane);
        blue = warp_sum(blue);
        float* out = sSum[warp] + kSplatSize * j;
        if ((lane & 3) == 0) out[lane >> 2] = sum;
        if (lane == 1) out[8] = blue;
        hit |= 1u << in_group;
      }
      if (lane == 0) sHit[warp][group / 32] = hit;
    }
    __syncthreads();
    for (int item = threadIdx.x; item < count * kSplatSize; item += kThreads) {
      const int j = item / kSplatSize;
      float sum = 0;
      bool any = false;
#pragma unroll
      for (int w = 0; w < kWarps; ++w)
        if (sHit[w][j / 32] >> (j % 32) & 1) sum += sSum[w][item], any = true;
      if (any) gSlot[std::int64_t(sSlot[j]) * kSplatSize + (item - j * kSplatSize)] = sum;
    }
    __syncthreads();
  }
  if (more && at.inside) gPixel[at.pixel] = {t, rest};
}

// Sixteen threads an entry of the chunk, one a moment.
__global__ void __launch_bounds__(kThreads)
    rasterize_sum_kernel(const float4* __restrict__ gSorted, const std::int32_t* __restrict__ gOrder,
                         const Span* __restrict__ gSpan, const float* __restrict__ gSlot, float* __restrict__ gDsplat,
                         std::int64_t entries, int views, bool accumulate) {
  const std::int64_t entry = (std::int64_t(blockIdx.x) * kThreads + threadIdx.x) / 16;
  const int k = threadIdx.x % 16;
  const bool own = entry < entries;
  std::int64_t place = 0;
  int view;
  if (own) locate(gSpan, views, entry, view, place);
  const SortedSplat s = load_splat(gSorted, place);
  const TileRect r = unpack(__float_as_uint(s.c.z));
  const int tiles = own ? r.columns * r.rows : 0;
  float sum = 0;
  if (k < kSplatSize) {
    const float* slot = gSlot + std::int64_t(__float_as_uint(s.c.w)) * kSplatSize + k;
    for (int i = 0; i < tiles; ++i) sum += slot[std::int64_t(i) * kSplatSize];
  }
  // Moment k to gradient k: u, v, A, B, C, opacity, r, g, b.
  const float qx = __shfl_sync(0xffffffffu, sum, 1, 16), qy = __shfl_sync(0xffffffffu, sum, 2, 16);
  const float other = __shfl_sync(0xffffffffu, sum, k == 5 ? 0 : k < 5 ? k + 1 : k, 16);
  if (tiles == 0 || k >= kSplatSize) return;
  float d = sum;
  if (k == 0) d = -(s.a.z * qx + s.a.w * qy);
  if (k == 1) d = -(s.b.x * qy + s.a.w * qx);
  if (k == 2 || k == 4) d = -0.5f * other;
  if (k == 3) d = -other;
  if (k == 5) d = other / s.b.y;
  float* out = gDsplat + std::int64_t(gOrder[place]) * kSplatSize + k;
  *out = accumulate ? *out + d : d;
}

}  // namespace

void rasterize_fwd(const Stream& s, Arena& arena, const RasterizeFwd& a, RasterizeState* saved) {
  if (a.splat.dtype != DType::f32)
    throw_error<DeviceError>("rasterize_fwd: ", a.splat.dtype, " is not supported on CUDA (f32 is)");
  const std::int64_t views = a.image.shape[0], pixels = a.image.numel() / 3;
  const Grid grid = grid_of(a.image.shape);
  const std::int64_t tiles = views * grid.tiles_x * grid.tiles_y;
  if (pixels == 0) return;
  RasterizeState state;
  state.last = arena.empty({views, a.image.shape[1], a.image.shape[2]}, DType::i32, {"last contributor"});
  Tensor pixel = arena.empty({pixels, 4}, DType::f32, {"pixel state"});
  Tensor seen = arena.empty({tiles}, DType::i32, {"intersections seen"}),
         open = arena.empty({tiles}, DType::u8, {"open tiles"});
  SplatBins bins(s, arena, a, state);
  for (bool first = true;; first = false) {
    RasterizeState::Chunk chunk;
    if (!bins.next(first ? ConstView{} : ConstView(open), chunk)) break;
    if (first || chunk.list) {
      rasterize_fwd_kernel<<<unsigned(tiles), kThreads, 0, native(s)>>>(
          raw_const<float4>(state.sorted), chunk.list ? raw_const<std::int32_t>(chunk.list) : nullptr,
          raw_const<int2>(chunk.ranges), grid, raw<float4>(pixel), raw<std::int32_t>(state.last),
          raw<std::int32_t>(seen), raw<std::uint8_t>(open), first);
      check_launch("rasterize_fwd_kernel", s);
    }
    if (saved && chunk.list) state.chunks.push_back(std::move(chunk));
    if (bins.finished()) break;
  }
  rasterize_finish_kernel<<<unsigned(ceil_div(pixels, std::int64_t(kThreads))), kThreads, 0, native(s)>>>(
      raw_const<float4>(pixel), pointer<float>(a.image), pixels, a.background[0], a.background[1], a.background[2]);
  check_launch("rasterize_finish_kernel", s);
  if (saved) *saved = std::move(state);
}

void rasterize_bwd(const Stream& s, Arena& arena, const RasterizeBwd& a, const RasterizeState& state) {
  if (a.image.dtype != DType::f32)
    throw_error<DeviceError>("rasterize_bwd: ", a.image.dtype, " is not supported on CUDA (f32 is)");
  const std::int64_t views = a.image.shape[0], pixels = a.image.numel() / 3;
  const Grid grid = grid_of(a.image.shape);
  const std::int64_t tiles = views * grid.tiles_x * grid.tiles_y;
  const bool accumulate = a.mode == GradMode::accumulate;
  if (!accumulate) fill_zero(s, a.dsplat);
  if (state.chunks.empty()) return;
  const bool several = state.chunks.size() > 1;
  std::int64_t most = 0;
  for (const RasterizeState::Chunk& c : state.chunks) most = std::max(most, c.slots);
  Tensor slots = arena.empty({most, kSplatSize}, DType::f32, {"intersection gradients"});
  Tensor pixel, seen;
  if (several) {
    pixel = arena.empty({pixels, 2}, DType::f32, {"pixel state"});
    seen = arena.empty({tiles}, DType::i32, {"intersections seen"});
  }
  for (std::size_t i = 0; i < state.chunks.size(); ++i) {
    const RasterizeState::Chunk& c = state.chunks[i];
    fill_zero(s, slots.rows(0, c.slots));
    rasterize_bwd_kernel<<<unsigned(tiles), kThreads, 0, native(s)>>>(
        raw_const<float4>(state.sorted), raw_const<std::int32_t>(c.list), raw_const<int2>(c.ranges), grid,
        pointer<float>(a.image), pointer<float>(a.dimage), raw_const<std::int32_t>(state.last),
        several ? raw<float2>(pixel) : nullptr, several ? raw<std::int32_t>(seen) : nullptr, raw<float>(slots), i == 0,
        several);
    check_launch("rasterize_bwd_kernel", s);
    rasterize_sum_kernel<<<unsigned(ceil_div(c.entries * 16, std::int64_t(kThreads))), kThreads, 0, native(s)>>>(
        raw_const<float4>(state.sorted), raw_const<std::int32_t>(state.order), raw_const<Span>(c.spans),
        raw_const<float>(slots), pointer<float>(a.dsplat), c.entries, int(views), accumulate);
    check_launch("rasterize_sum_kernel", s);
  }
}

}  // namespace mfl::cuda
