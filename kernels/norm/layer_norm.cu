// Layer norm.
//   Map        one warp per row. C = 128, 256, 512 or 1024: each lane keeps C/32 values in registers, in packs of four,
//              so x is read once; backward is one pass over x and dy, in which each warp also sums dweight over its
//              rows in registers (166 of them at C = 1024: three blocks a processor). Other C, unaligned views and
//              dbias: plain loops, one element an access.
//   Sums       dweight, dbias: a block's partial row goes to scratch; a second kernel adds them in fixed order.
//   Bytes      forward, f32 in, bf16 out: 4RC + 2RC + 8R.   backward: 4RC + 2RC + 4RC (+4RC to accumulate).
//   Bound by   memory: for R=24578, C=1024 the floors are 50 us forward, 118 us backward at 3.0 TB/s.
//   Rejected   the same for C = 2048: backward spills registers.
//   Numerics   two-pass variance in f32.    Deterministic: yes.
#include <initializer_list>
#include <type_traits>

#include "kernels/common/launch.cuh"
#include "kernels/common/pack.cuh"
#include "kernels/norm/layer_norm.h"

namespace mfl::cuda {
namespace {

constexpr int kWarps = 4;  // rows in a block

// ---- C = 128 * kPacks, 16-byte aligned ----

template <class X, class Y, int kPacks>
__global__ void __launch_bounds__(kWarps * 32)
    layer_norm_fwd_packed_kernel(const X* __restrict__ gX, const float* __restrict__ gWeight,
                                 const float* __restrict__ gBias, Y* __restrict__ gY, float* __restrict__ gMean,
                                 float* __restrict__ gRstd, std::int64_t rows, float eps) {
  constexpr int kChannels = 128 * kPacks;
  const std::int64_t r = std::int64_t(blockIdx.x) * kWarps + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (r >= rows) return;
  Pack<X, 4> x[kPacks];
#pragma unroll
  for (int j = 0; j < kPacks; ++j) x[j] = load_pack<4>(gX + r * kChannels + (j * 32 + lane) * 4);
  float sum = 0;
#pragma unroll
  for (int j = 0; j < kPacks; ++j)
#pragma unroll
    for (int e = 0; e < 4; ++e) sum += to_float(x[j].v[e]);
  const float mean = warp_sum(sum) / kChannels;
  float square = 0;
#pragma unroll
  for (int j = 0; j < kPacks; ++j)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const float d = to_float(x[j].v[e]) - mean;
      square += d * d;
    }
  const float rstd = rsqrtf(warp_sum(square) / kChannels + eps);
#pragma unroll
  for (int j = 0; j < kPacks; ++j) {
    const int c = (j * 32 + lane) * 4;
    const auto weight = load_pack<4>(gWeight + c);
    Pack<float, 4> bias{};
    if (gBias) bias = load_pack<4>(gBias + c);
    Pack<Y, 4> y;
#pragma unroll
    for (int e = 0; e < 4; ++e) y.v[e] = from_float<Y>((to_float(x[j].v[e]) - mean) * rstd * weight.v[e] + bias.v[e]);
    store_pack<4>(gY + r * kChannels + c, y);
  }
  if (gMean && lane == 0) gMean[r] = mean, gRstd[r] = rstd;
}

// Rows [share * block, share * (block + 1)), a warp every kWarps-th. gDx null: dweight only; gPartial null: dx only.
template <class X, class Y, int kPacks>
__global__ void __launch_bounds__(kWarps * 32)
    layer_norm_bwd_packed_kernel(const X* __restrict__ gX, const float* __restrict__ gWeight,
                                 const float* __restrict__ gMean, const float* __restrict__ gRstd,
                                 const Y* __restrict__ gDy, X* __restrict__ gDx, float* __restrict__ gPartial,
                                 std::int64_t rows, std::int64_t share, bool accumulate) {
  constexpr int kChannels = 128 * kPacks;
  __shared__ float sDweight[kWarps][kChannels];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const std::int64_t from = blockIdx.x * share, to = from + share < rows ? from + share : rows;
  float dweight[kPacks][4] = {};
  for (std::int64_t r = from + warp; r < to; r += kWarps) {
    Pack<X, 4> x[kPacks];
    Pack<Y, 4> dy[kPacks];
#pragma unroll
    for (int j = 0; j < kPacks; ++j) {
      x[j] = load_pack<4>(gX + r * kChannels + (j * 32 + lane) * 4);
      dy[j] = load_pack<4>(gDy + r * kChannels + (j * 32 + lane) * 4);
    }
    const float mean = gMean[r], rstd = gRstd[r];
    float sum_g = 0, sum_gx = 0;
#pragma unroll
    for (int j = 0; j < kPacks; ++j) {
      const auto weight = load_pack<4>(gWeight + (j * 32 + lane) * 4);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float xhat = (to_float(x[j].v[e]) - mean) * rstd, d = to_float(dy[j].v[e]), g = d * weight.v[e];
        sum_g += g;
        sum_gx += g * xhat;
        dweight[j][e] += d * xhat;
      }
    }
    if (!gDx) continue;
    const float mean_g = warp_sum(sum_g) / kChannels, mean_gx = warp_sum(sum_gx) / kChannels;
#pragma unroll
    for (int j = 0; j < kPacks; ++j) {
      const int c = (j * 32 + lane) * 4;
      const auto weight = load_pack<4>(gWeight + c);
      Pack<X, 4> dx{};
      if (accumulate) dx = load_pack<4>(gDx + r * kChannels + c);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float xhat = (to_float(x[j].v[e]) - mean) * rstd;
        const float d = rstd * (to_float(dy[j].v[e]) * weight.v[e] - mean_g - xhat * mean_gx);
        dx.v[e] = from_float<X>(accumulate ? to_float(dx.v[e]) + d : d);
      }
      store_pack<4>(gDx + r * kChannels + c, dx);
    }
  }
  if (!gPartial) return;
#pragma unroll
  for (int j = 0; j < kPacks; ++j)
#pragma unroll
    for (int e = 0; e < 4; ++e) sDweight[warp][(j * 32 + lane) * 4 + e] = dweight[j][e];
  __syncthreads();
  for (int c = threadIdx.x; c < kChannels; c += kWarps * 32) {
    float sum = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) sum += sDweight[w][c];
    gPartial[2 * blockIdx.x * std::int64_t(kChannels) + c] = sum;
  }
}

// ---- any C ----

template <class X, class Y>
__global__ void layer_norm_fwd_kernel(const X* __restrict__ gX, const float* __restrict__ gWeight,
                                      const float* __restrict__ gBias, Y* __restrict__ gY, float* __restrict__ gMean,
                                      float* __restrict__ gRstd, std::int64_t rows, int channels, float eps) {
  const std::int64_t r = std::int64_t(blockIdx.x) * kWarps + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (r >= rows) return;
  const X* x = gX + r * channels;
  float sum = 0;
  for (int c = lane; c < channels; c += 32) sum += to_float(x[c]);
  const float mean = warp_sum(sum) / channels;
  float square = 0;
  for (int c = lane; c < channels; c += 32) {
    const float d = to_float(x[c]) - mean;
    square += d * d;
  }
  const float rstd = rsqrtf(warp_sum(square) / channels + eps);
  for (int c = lane; c < channels; c += 32)
    gY[r * channels + c] = from_float<Y>((to_float(x[c]) - mean) * rstd * gWeight[c] + (gBias ? gBias[c] : 0.0f));
  if (gMean && lane == 0) gMean[r] = mean, gRstd[r] = rstd;
}

template <class X, class Y>
__global__ void layer_norm_dx_kernel(const X* __restrict__ gX, const float* __restrict__ gWeight,
                                     const float* __restrict__ gMean, const float* __restrict__ gRstd,
                                     const Y* __restrict__ gDy, X* __restrict__ gDx, std::int64_t rows, int channels,
                                     bool accumulate) {
  const std::int64_t r = std::int64_t(blockIdx.x) * kWarps + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (r >= rows) return;
  const X* x = gX + r * channels;
  const Y* dy = gDy + r * channels;
  const float mean = gMean[r], rstd = gRstd[r];
  float sum_g = 0, sum_gx = 0;
  for (int c = lane; c < channels; c += 32) {
    const float g = to_float(dy[c]) * gWeight[c];
    sum_g += g;
    sum_gx += g * (to_float(x[c]) - mean) * rstd;
  }
  const float mean_g = warp_sum(sum_g) / channels, mean_gx = warp_sum(sum_gx) / channels;
  for (int c = lane; c < channels; c += 32) {
    const float xhat = (to_float(x[c]) - mean) * rstd;
    float d = rstd * (to_float(dy[c]) * gWeight[c] - mean_g - xhat * mean_gx);
    if (accumulate) d += to_float(gDx[r * channels + c]);
    gDx[r * channels + c] = from_float<X>(d);
  }
}

// Block b of gridDim.y sums its share of the rows, one thread a channel.
template <class X, class Y>
__global__ void layer_norm_dw_partial_kernel(const X* __restrict__ gX, const float* __restrict__ gMean,
                                             const float* __restrict__ gRstd, const Y* __restrict__ gDy,
                                             float* __restrict__ gPartial, std::int64_t rows, int channels) {
  const int c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= channels) return;
  const std::int64_t share = ceil_div(rows, std::int64_t(gridDim.y));
  const std::int64_t from = blockIdx.y * share, to = from + share < rows ? from + share : rows;
  float dweight = 0, dbias = 0;
  for (std::int64_t r = from; r < to; ++r) {
    const float dy = to_float(gDy[r * channels + c]);
    dweight += dy * (to_float(gX[r * channels + c]) - gMean[r]) * gRstd[r];
    dbias += dy;
  }
  gPartial[(2 * blockIdx.y) * std::int64_t(channels) + c] = dweight;
  gPartial[(2 * blockIdx.y + 1) * std::int64_t(channels) + c] = dbias;
}

// A block adds the partial rows of 32 channels: kSumRows threads a channel, then their sums.
constexpr int kSumRows = 16;
__global__ void __launch_bounds__(32 * kSumRows)
    layer_norm_dw_sum_kernel(const float* __restrict__ gPartial, float* __restrict__ gDweight,
                             float* __restrict__ gDbias, int channels, int parts, bool accumulate) {
  __shared__ float sDweight[kSumRows][32], sDbias[kSumRows][32];
  const int c = blockIdx.x * 32 + threadIdx.x;
  float dweight = 0, dbias = 0;
  for (int p = threadIdx.y; p < parts && c < channels; p += kSumRows) {
    dweight += gPartial[(2 * p) * std::int64_t(channels) + c];
    if (gDbias) dbias += gPartial[(2 * p + 1) * std::int64_t(channels) + c];
  }
  sDweight[threadIdx.y][threadIdx.x] = dweight, sDbias[threadIdx.y][threadIdx.x] = dbias;
  __syncthreads();
  if (threadIdx.y != 0 || c >= channels) return;
  for (int i = 1; i < kSumRows; ++i) dweight += sDweight[i][threadIdx.x], dbias += sDbias[i][threadIdx.x];
  gDweight[c] = accumulate ? gDweight[c] + dweight : dweight;
  if (gDbias) gDbias[c] = accumulate ? gDbias[c] + dbias : dbias;
}

template <class F>
void dispatch_xy(const char* op, DType x, DType y, F&& f) {
  if (x == DType::f32 && y == DType::f32) return f(float{}, float{});
  if (x == DType::f32 && y == DType::bf16) return f(float{}, bf16{});
  if (x == DType::bf16 && y == DType::bf16) return f(bf16{}, bf16{});
  throw_error<DeviceError>(op, ": x ", x, " with y ", y, " is not supported on CUDA");
}

// f(std::integral_constant<int, C / 128>) if the packed kernels take C channels of these views; false if they do not.
template <class F>
bool dispatch_packed(std::int64_t channels, std::initializer_list<const void*> pointers, F&& f) {
  for (const void* p : pointers)
    if (!aligned16(p)) return false;
  switch (channels) {
    case 128:
      f(std::integral_constant<int, 1>{});
      return true;
    case 256:
      f(std::integral_constant<int, 2>{});
      return true;
    case 512:
      f(std::integral_constant<int, 4>{});
      return true;
    case 1024:
      f(std::integral_constant<int, 8>{});
      return true;
    default:
      return false;
  }
}

}  // namespace

void layer_norm_fwd(const Stream& s, const LayerNormFwd& a) {
  const std::int64_t rows = a.x.shape.rows(), channels = a.x.shape[-1];
  if (rows == 0) return;
  const unsigned blocks = unsigned(ceil_div(rows, kWarps));
  dispatch_xy("layer_norm_fwd", a.x.dtype, a.y.dtype, [&](auto x, auto y) {
    const auto* gX = pointer<decltype(x)>(a.x);
    const float *gWeight = pointer<float>(a.weight), *gBias = pointer<float>(a.bias);
    auto* gY = pointer<decltype(y)>(a.y);
    float *gMean = pointer<float>(a.mean), *gRstd = pointer<float>(a.rstd);
    const bool packed = dispatch_packed(channels, {gX, gWeight, gBias, gY}, [&](auto packs) {
      layer_norm_fwd_packed_kernel<device_t<decltype(x)>, device_t<decltype(y)>, decltype(packs)::value>
          <<<blocks, kWarps * 32, 0, native(s)>>>(gX, gWeight, gBias, gY, gMean, gRstd, rows, a.eps);
    });
    if (!packed)
      layer_norm_fwd_kernel<<<blocks, kWarps * 32, 0, native(s)>>>(gX, gWeight, gBias, gY, gMean, gRstd, rows,
                                                                   int(channels), a.eps);
    check_launch("layer_norm_fwd_kernel", s);
  });
}

void layer_norm_bwd(const Stream& s, const LayerNormBwd& a) {
  const std::int64_t rows = a.x.shape.rows(), channels = a.x.shape[-1];
  const bool input = a.dx_mode != GradMode::ignore, weights = a.dw_mode != GradMode::ignore;
  if (rows == 0 || (!input && !weights)) return;
  const int parts = int(layer_norm_bwd_scratch(rows, channels) / (2 * channels));
  const bool add_dx = a.dx_mode == GradMode::accumulate;
  dispatch_xy("layer_norm_bwd", a.x.dtype, a.dy.dtype, [&](auto x, auto y) {
    const auto* gX = pointer<decltype(x)>(a.x);
    const auto* gDy = pointer<decltype(y)>(a.dy);
    const float *gWeight = pointer<float>(a.weight), *gMean = pointer<float>(a.mean), *gRstd = pointer<float>(a.rstd);
    auto* gDx = input ? pointer<decltype(x)>(a.dx) : nullptr;
    float* gPartial = weights ? pointer<float>(a.scratch) : nullptr;
    const bool packed = !(weights && a.dbias) && dispatch_packed(channels, {gX, gWeight, gDy, gDx}, [&](auto packs) {
      layer_norm_bwd_packed_kernel<device_t<decltype(x)>, device_t<decltype(y)>, decltype(packs)::value>
          <<<unsigned(parts), kWarps * 32, 0, native(s)>>>(gX, gWeight, gMean, gRstd, gDy, gDx, gPartial, rows,
                                                           ceil_div(rows, std::int64_t(parts)), add_dx);
      check_launch("layer_norm_bwd_packed_kernel", s);
    });
    if (!packed && input) {
      layer_norm_dx_kernel<<<unsigned(ceil_div(rows, kWarps)), kWarps * 32, 0, native(s)>>>(
          gX, gWeight, gMean, gRstd, gDy, gDx, rows, int(channels), add_dx);
      check_launch("layer_norm_dx_kernel", s);
    }
    if (!packed && weights) {
      const dim3 grid(unsigned(ceil_div(channels, 128)), unsigned(parts));
      layer_norm_dw_partial_kernel<<<grid, 128, 0, native(s)>>>(gX, gMean, gRstd, gDy, gPartial, rows, int(channels));
      check_launch("layer_norm_dw_partial_kernel", s);
    }
  });
  if (!weights) return;
  layer_norm_dw_sum_kernel<<<unsigned(ceil_div(channels, 32)), dim3(32, kSumRows), 0, native(s)>>>(
      pointer<float>(a.scratch), pointer<float>(a.dweight), pointer<float>(a.dbias), int(channels), parts,
      a.dw_mode == GradMode::accumulate);
  check_launch("layer_norm_dw_sum_kernel", s);
}

}  // namespace mfl::cuda
