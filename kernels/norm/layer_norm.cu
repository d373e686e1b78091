// Layer norm.
//   Map        forward and dx: one warp per row; each lane keeps C/32 values in registers (C <= 2048), so x is read once.
//              dweight, dbias: each block sums 64 rows or more into a partial row of scratch, a second kernel adds the
//              partial rows in their order.
//   Bytes      forward, f32 in, bf16 out: 4RC + 2RC + 8R.   backward: 4RC + 2RC + 4RC (+4RC to accumulate), twice x and dy.
//   Bound by   memory.
//   Numerics   two-pass variance in f32.    Deterministic: yes.
#include "kernels/common/launch.cuh"
#include "kernels/norm/layer_norm.h"

namespace mfl::cuda {
namespace {

constexpr int kWarps = 4;  // rows in a block

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

__global__ void layer_norm_dw_sum_kernel(const float* __restrict__ gPartial, float* __restrict__ gDweight,
                                         float* __restrict__ gDbias, int channels, int parts, bool accumulate) {
  const int c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= channels) return;
  float dweight = accumulate ? gDweight[c] : 0.0f, dbias = accumulate && gDbias ? gDbias[c] : 0.0f;
  for (int p = 0; p < parts; ++p) {
    dweight += gPartial[(2 * p) * std::int64_t(channels) + c];
    dbias += gPartial[(2 * p + 1) * std::int64_t(channels) + c];
  }
  gDweight[c] = dweight;
  if (gDbias) gDbias[c] = dbias;
}

template <class F>
void dispatch_xy(const char* op, DType x, DType y, F&& f) {
  if (x == DType::f32 && y == DType::f32) return f(float{}, float{});
  if (x == DType::f32 && y == DType::bf16) return f(float{}, bf16{});
  if (x == DType::bf16 && y == DType::bf16) return f(bf16{}, bf16{});
  throw_error<DeviceError>(op, ": x ", x, " with y ", y, " is not supported on CUDA");
}

}  // namespace

void layer_norm_fwd(const Stream& s, const LayerNormFwd& a) {
  const std::int64_t rows = a.x.shape.rows();
  if (rows == 0) return;
  dispatch_xy("layer_norm_fwd", a.x.dtype, a.y.dtype, [&](auto x, auto y) {
    layer_norm_fwd_kernel<<<unsigned(ceil_div(rows, kWarps)), kWarps * 32, 0, native(s)>>>(
        pointer<decltype(x)>(a.x), pointer<float>(a.weight), pointer<float>(a.bias), pointer<decltype(y)>(a.y),
        pointer<float>(a.mean), pointer<float>(a.rstd), rows, int(a.x.shape[-1]), a.eps);
    check_launch("layer_norm_fwd_kernel", s);
  });
}

void layer_norm_bwd(const Stream& s, const LayerNormBwd& a) {
  const std::int64_t rows = a.x.shape.rows();
  const int channels = int(a.x.shape[-1]);
  if (rows == 0) return;
  dispatch_xy("layer_norm_bwd", a.x.dtype, a.dy.dtype, [&](auto x, auto y) {
    using X = decltype(x);
    using Y = decltype(y);
    if (a.dx_mode != GradMode::ignore) {
      layer_norm_dx_kernel<<<unsigned(ceil_div(rows, kWarps)), kWarps * 32, 0, native(s)>>>(
          pointer<X>(a.x), pointer<float>(a.weight), pointer<float>(a.mean), pointer<float>(a.rstd), pointer<Y>(a.dy),
          pointer<X>(a.dx), rows, channels, a.dx_mode == GradMode::accumulate);
      check_launch("layer_norm_dx_kernel", s);
    }
    if (a.dw_mode != GradMode::ignore) {
      const int parts = int(layer_norm_bwd_scratch(rows, channels) / (2 * channels));
      const dim3 grid(unsigned(ceil_div(channels, 128)), unsigned(parts));
      layer_norm_dw_partial_kernel<<<grid, 128, 0, native(s)>>>(pointer<X>(a.x), pointer<float>(a.mean),
                                                                pointer<float>(a.rstd), pointer<Y>(a.dy),
                                                                pointer<float>(a.scratch), rows, channels);
      check_launch("layer_norm_dw_partial_kernel", s);
      layer_norm_dw_sum_kernel<<<unsigned(ceil_div(channels, 128)), 128, 0, native(s)>>>(
          pointer<float>(a.scratch), pointer<float>(a.dweight), pointer<float>(a.dbias), channels, parts,
          a.dw_mode == GradMode::accumulate);
      check_launch("layer_norm_dw_sum_kernel", s);
    }
  });
}

}  // namespace mfl::cuda
