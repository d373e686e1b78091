// SSIM and its gradient.
//   Map        one block a 32 x 32 tile, colour channel and image; 256 threads. The tile with its border of 10 pixels is read
//              into shared memory, blurred along rows and then along columns. Forward: the five blurs, the SSIM and its three
//              derivatives (maps), a partial sum a block. Backward: the transposed blur of the three maps.
//   Bytes      forward 12P + 16P to read (the three channels' blocks share lines), 36P to write maps; backward 36P + 28P to
//              read and 24P to write, P pixels; 1.7 times the reads for the borders, most of them from L2.
//   FLOPs      about 250 a channel and pixel forward, 150 backward.
//   Bound by   shared memory bandwidth.    Numerics   f32.    Deterministic: yes.
#include <cmath>

#include "kernels/common/launch.cuh"
#include "kernels/loss/ssim.h"
#include "kernels/loss/sum_parts.cuh"

namespace mfl::cuda {
namespace {

constexpr int kTile = 32, kBorder = kSsimTaps - 1, kReach = kTile + kBorder, kThreads = 256;

struct Window {
  float w[kSsimTaps];
};
Window window() {
  Window win;
  double w[kSsimTaps], sum = 0;
  for (int k = 0; k < kSsimTaps; ++k)
    sum += w[k] = std::exp(-double(k - kSsimTaps / 2) * (k - kSsimTaps / 2) / (2 * kSsimSigma * kSsimSigma));
  for (int k = 0; k < kSsimTaps; ++k) win.w[k] = float(w[k] / sum);
  return win;
}

struct Sizes {
  int images, height, width, channels;   // channels of the target
  bool masked;
};

__global__ void __launch_bounds__(kThreads)
ssim_fwd_kernel(const float* __restrict__ gRender, const float* __restrict__ gTarget, Sizes e, Window win,
                float* __restrict__ gMaps, float* __restrict__ gParts) {
  __shared__ float sX[kReach][kReach + 1], sY[kReach][kReach + 1];
  __shared__ float sRows[5][kReach][kTile];   // blurred along rows: x, y, xx, yy, xy
  const int m = blockIdx.z / 3, c = blockIdx.z % 3, h0 = blockIdx.y * kTile, w0 = blockIdx.x * kTile;
  const int h_out = e.height - kBorder, w_out = e.width - kBorder;
  for (int i = threadIdx.x; i < kReach * kReach; i += kThreads) {
    const int r = i / kReach, k = i % kReach, h = h0 + r, w = w0 + k;
    float x = 0, y = 0;
    if (h < e.height && w < e.width) {
      const std::int64_t p = (std::int64_t(m) * e.height + h) * e.width + w;
      const bool hidden = e.masked && !(gTarget[p * e.channels + 3] > 0.5f);
      x = hidden ? 0.5f : gRender[p * 3 + c];
      y = hidden ? 0.5f : gTarget[p * e.channels + c];
    }
    sX[r][k] = x, sY[r][k] = y;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kReach * kTile; i += kThreads) {
    const int r = i / kTile, k = i % kTile;
    float sum[5] = {};
#pragma unroll
    for (int t = 0; t < kSsimTaps; ++t) {
      const float x = sX[r][k + t], y = sY[r][k + t], wx = win.w[t] * x, wy = win.w[t] * y;
      sum[0] += wx, sum[1] += wy, sum[2] += wx * x, sum[3] += wy * y, sum[4] += wx * y;
    }
#pragma unroll
    for (int q = 0; q < 5; ++q) sRows[q][r][k] = sum[q];
  }
  __syncthreads();
  float total = 0;
  for (int i = threadIdx.x; i < kTile * kTile; i += kThreads) {
    const int r = i / kTile, k = i % kTile, h = h0 + r, w = w0 + k;
    if (h >= h_out || w >= w_out) continue;
    float blur[5] = {};
#pragma unroll
    for (int t = 0; t < kSsimTaps; ++t)
#pragma unroll
      for (int q = 0; q < 5; ++q) blur[q] += win.w[t] * sRows[q][r + t][k];
    const float mx = blur[0], my = blur[1], vx = blur[2] - mx * mx, vy = blur[3] - my * my, vxy = blur[4] - mx * my;
    const float a1 = 2 * mx * my + float(kSsimC1), a2 = 2 * vxy + float(kSsimC2);
    const float b1 = mx * mx + my * my + float(kSsimC1), b2 = vx + vy + float(kSsimC2);
    const float ssim = a1 * a2 / (b1 * b2);
    total += ssim;
    if (gMaps) {
      const std::int64_t step = std::int64_t(e.images) * h_out * w_out * 3;
      float* maps = gMaps + ((std::int64_t(m) * h_out + h) * w_out + w) * 3 + c;
      maps[0] = 2 * my * (a2 - a1) / (b1 * b2) + 2 * mx * ssim * (1 / b2 - 1 / b1);
      maps[step] = -ssim / b2;
      maps[2 * step] = 2 * a1 / (b1 * b2);
    }
  }
  total = block_sum<kThreads>(total);
  if (threadIdx.x == 0) gParts[(std::int64_t(blockIdx.z) * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x] = total;
}

__global__ void ssim_mean_kernel(const float* __restrict__ gParts, int parts, float scale, bool clamp,
                                 float* __restrict__ gSsim, float* __restrict__ gLoss) {
  float sum = 0;
  for (int i = threadIdx.x; i < parts; i += kThreads) sum += gParts[i];
  sum = block_sum<kThreads>(sum) * scale;
  if (threadIdx.x == 0) {
    *gSsim = sum;
    *gLoss = 1 - (clamp ? (sum < 0 ? 0.0f : sum > 1 ? 1.0f : sum) : sum);
  }
}

__global__ void __launch_bounds__(kThreads)
ssim_bwd_kernel(const float* __restrict__ gRender, const float* __restrict__ gTarget, const float* __restrict__ gSsim,
                const float* __restrict__ gMaps, Sizes e, Window win, bool clamp, float factor, float* __restrict__ gDrender,
                bool accumulate) {
  __shared__ float sMaps[3][kReach][kReach + 1];
  __shared__ float sRows[3][kReach][kTile];
  const int m = blockIdx.z / 3, c = blockIdx.z % 3, h0 = blockIdx.y * kTile, w0 = blockIdx.x * kTile;
  const int h_out = e.height - kBorder, w_out = e.width - kBorder;
  if (clamp && (*gSsim < 0 || *gSsim > 1)) factor = 0;
  // A pixel (h, w) lies in the windows that begin at (h - 10, w - 10) to (h, w); the window is symmetric.
  for (int i = threadIdx.x; i < kReach * kReach; i += kThreads) {
    const int r = i / kReach, k = i % kReach, h = h0 - kBorder + r, w = w0 - kBorder + k;
    const bool inside = h >= 0 && w >= 0 && h < h_out && w < w_out;
#pragma unroll
    for (int q = 0; q < 3; ++q)
      sMaps[q][r][k] = inside ? gMaps[(((std::int64_t(q) * e.images + m) * h_out + h) * w_out + w) * 3 + c] : 0.0f;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kReach * kTile; i += kThreads) {
    const int r = i / kTile, k = i % kTile;
    float sum[3] = {};
#pragma unroll
    for (int t = 0; t < kSsimTaps; ++t)
#pragma unroll
      for (int q = 0; q < 3; ++q) sum[q] += win.w[t] * sMaps[q][r][k + t];
#pragma unroll
    for (int q = 0; q < 3; ++q) sRows[q][r][k] = sum[q];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kTile * kTile; i += kThreads) {
    const int r = i / kTile, k = i % kTile, h = h0 + r, w = w0 + k;
    if (h >= e.height || w >= e.width) continue;
    float d[3] = {};
#pragma unroll
    for (int t = 0; t < kSsimTaps; ++t)
#pragma unroll
      for (int q = 0; q < 3; ++q) d[q] += win.w[t] * sRows[q][r + t][k];
    const std::int64_t p = (std::int64_t(m) * e.height + h) * e.width + w;
    const bool hidden = e.masked && !(gTarget[p * e.channels + 3] > 0.5f);
    const float gradient =
        hidden ? 0.0f : factor * (d[0] + 2 * gRender[p * 3 + c] * d[1] + gTarget[p * e.channels + c] * d[2]);
    gDrender[p * 3 + c] = (accumulate ? gDrender[p * 3 + c] : 0.0f) + gradient;
  }
}

Sizes sizes(const ConstView& render, const ConstView& target, bool masked) {
  return {int(render.shape[0]), int(render.shape[1]), int(render.shape[2]), int(target.shape[3]), masked};
}

double positions(const Sizes& e) { return 3.0 * e.images * (e.height - kBorder) * (e.width - kBorder); }

}  // namespace

void ssim_fwd(const Stream& s, const SsimFwd& a) {
  const Sizes e = sizes(a.render, a.target, a.masked);
  const dim3 grid(unsigned(ceil_div(e.width - kBorder, kTile)), unsigned(ceil_div(e.height - kBorder, kTile)),
                  unsigned(3 * e.images));
  ssim_fwd_kernel<<<grid, kThreads, 0, native(s)>>>(pointer<float>(a.render), pointer<float>(a.target), e, window(),
                                                    pointer<float>(a.maps), pointer<float>(a.scratch));
  check_launch("ssim_fwd_kernel", s);
  ssim_mean_kernel<<<1, kThreads, 0, native(s)>>>(pointer<float>(a.scratch), int(grid.x * grid.y * grid.z),
                                                  float(1 / positions(e)), a.clamp, pointer<float>(a.ssim),
                                                  pointer<float>(a.loss));
  check_launch("ssim_mean_kernel", s);
}

void ssim_bwd(const Stream& s, const SsimBwd& a) {
  const Sizes e = sizes(a.render, a.target, a.masked);
  const dim3 grid(unsigned(ceil_div(e.width, kTile)), unsigned(ceil_div(e.height, kTile)), unsigned(3 * e.images));
  ssim_bwd_kernel<<<grid, kThreads, 0, native(s)>>>(pointer<float>(a.render), pointer<float>(a.target),
                                                    pointer<float>(a.ssim), pointer<float>(a.maps), e, window(), a.clamp,
                                                    float(-a.weight / positions(e)), pointer<float>(a.drender),
                                                    a.drender_mode == GradMode::accumulate);
  check_launch("ssim_bwd_kernel", s);
}

}  // namespace mfl::cuda
