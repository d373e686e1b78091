// The blending weights of Gaussians.
//   Map        as rasterize_fwd_kernel (tile.cuh): a warp on 8x4 pixels walks the splats that reach it; of each it adds the weights
//              of its pixels by shuffles, and lane 0 puts sum and maximum where the Gaussian has them.
//   Bytes      an intersection: 4 + 48 + 4, and 12 of atomics for each warp that a splat reaches.
//   Bound by   atomics to scattered addresses, and instruction issue.
//   Numerics   f32; the exponential is ex2.approx; sums of 32 in f32, then in units of 2^-30 as integers.
//   Deterministic: yes: integer atomics only, whose order cannot be seen.
//   Measured   not yet: pruning, once a scene.
#include "kernels/splat/contribution.h"
#include "kernels/splat/tile.cuh"

namespace mfl::cuda {
namespace {

constexpr int kBatch = 256;
constexpr float kUnits = 1073741824.0f;  // of a pixel: 2^30; 2^33 pixels of weight 1 fit

// gPixel [V, H, W]: T; negative once the pixel has stopped.
__global__ void __launch_bounds__(kThreads)
    contribution_kernel(const float4* __restrict__ gSorted, const std::int32_t* __restrict__ gOrder,
                        const std::int32_t* __restrict__ gList, const int2* __restrict__ gRange, Grid grid, std::int64_t gaussians,
                        float* __restrict__ gPixel, std::uint8_t* __restrict__ gOpen, unsigned long long* __restrict__ gTotal,
                        int* __restrict__ gPeak, bool first) {
  __shared__ float4 sA[kBatch];
  __shared__ float2 sB[kBatch];  // c, opacity
  __shared__ std::int32_t sGaussian[kBatch];
  __shared__ std::uint32_t sParts[kBatch];
  const int2 range = gRange[blockIdx.x];
  const int n = range.y - range.x;
  if (!first && n == 0) return;  // what gOpen says of the tile stays true
  const Place at = place_of(grid.tiles_x, grid.tiles_y, grid.height, grid.width);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const float px = float(at.x), py = float(at.y);
  const float state = !first && at.inside ? gPixel[at.pixel] : 1.0f;
  bool done = !at.inside || state < 0;
  float t = fabsf(state);
  for (int batch = 0; batch < n; batch += kBatch) {
    if (__syncthreads_and(done)) break;
    const int count = min(kBatch, n - batch);
    if (int(threadIdx.x) < count) {
      const std::int32_t place = gList[range.x + batch + threadIdx.x];
      const SharedSplat s = prepare(load_splat(gSorted, place), at.tile_x, at.tile_y);
      sA[threadIdx.x] = s.a, sB[threadIdx.x] = {s.b.x, s.b.y}, sParts[threadIdx.x] = s.parts;
      sGaussian[threadIdx.x] = std::int32_t(gOrder[place] - at.view * gaussians);
    }
    __syncthreads();
    for (int group = 0; group < count; group += 32) {
      if (__all_sync(0xffffffffu, done)) break;
      const bool mine = group + lane < count && (sParts[group + lane] >> warp & 1);
      std::uint32_t bits = __ballot_sync(0xffffffffu, mine);
      while (bits) {  // the same in every lane
        const int j = group + __ffs(int(bits)) - 1;
        bits &= bits - 1;
        const float2 b = sB[j];
        const PixelWeight w = weigh(sA[j], b.x, b.y, px, py);
        float share = 0;
        if (!done && w.counts) {
          const float next = t * (1 - w.alpha);
          if (next < kEnough) {
            done = true;
          } else {
            share = w.alpha * t;
            t = next;
          }
        }
        if (!__any_sync(0xffffffffu, share > 0)) continue;
        const float sum = warp_sum(share), most = warp_max(share);
        if (lane == 0) {
          atomicAdd(gTotal + sGaussian[j], static_cast<unsigned long long>(__float2ull_rn(sum * kUnits)));
          atomicMax(gPeak + sGaussian[j], __float_as_int(most));  // bits of positive floats are ordered as they are
        }
      }
    }
  }
  if (at.inside) gPixel[at.pixel] = done ? -t : t;
  const int open = __syncthreads_or(!done);
  if (threadIdx.x == 0) gOpen[blockIdx.x] = open ? 1 : 0;
}

__global__ void contribution_finish_kernel(const unsigned long long* __restrict__ gSum, float* __restrict__ gTotal,
                                           std::int64_t gaussians) {
  const std::int64_t i = std::int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i < gaussians) gTotal[i] = float(double(gSum[i]) / double(kUnits));
}

}  // namespace

void contribution_fwd(const Stream& s, Arena& arena, const ContributionFwd& a) {
  if (a.splat.dtype != DType::f32)
    throw_error<DeviceError>("contribution_fwd: ", a.splat.dtype, " is not supported on CUDA (f32 is)");
  const std::int64_t views = a.splat.shape[0], n = a.splat.shape[1];
  fill_zero(s, a.peak);
  fill_zero(s, a.total);
  if (views == 0 || n == 0) return;
  const Shape shape{views, a.height, a.width, 3};
  const Grid grid = grid_of(shape);
  const std::int64_t tiles = views * grid.tiles_x * grid.tiles_y;
  Tensor sums = arena.empty({n}, DType::i64, {"contribution sums"});
  fill_zero(s, sums);
  Tensor pixel = arena.empty({views * a.height * a.width}, DType::f32, {"pixel state"}),
         open = arena.empty({tiles}, DType::u8, {"open tiles"});
  RasterizeState state;
  // Binning reads of the picture only its shape.
  SplatBins bins(s, arena,
                 {.splat = a.splat, .depth = a.depth, .rect = a.rect, .image = make_view(static_cast<void*>(nullptr), shape, DType::f32), .chunk = a.chunk},
                 state);
  for (bool first = true;; first = false) {
    RasterizeState::Chunk chunk;
    if (!bins.next(first ? ConstView{} : ConstView(open), chunk)) break;
    if (first || chunk.list) {
      contribution_kernel<<<unsigned(tiles), kThreads, 0, native(s)>>>(
          raw_const<float4>(state.sorted), raw_const<std::int32_t>(state.order),
          chunk.list ? raw_const<std::int32_t>(chunk.list) : nullptr, raw_const<int2>(chunk.ranges), grid, n, raw<float>(pixel),
          raw<std::uint8_t>(open), raw<unsigned long long>(sums), static_cast<int*>(a.peak.data), first);
      check_launch("contribution_kernel", s);
    }
    if (bins.finished()) break;
  }
  contribution_finish_kernel<<<unsigned(ceil_div(n, std::int64_t(kThreads))), kThreads, 0, native(s)>>>(
      raw_const<unsigned long long>(sums), pointer<float>(a.total), n);
  check_launch("contribution_finish_kernel", s);
}

}  // namespace mfl::cuda
