// Mean squared error over a set of pixels.
//   Map        one thread a pixel, grid-stride; each block leaves a partial sum and a partial count, one block adds them.
//   Bytes      forward 12P + 16P (RGBA target), backward 12P more to read and 12P to write.
//   Bound by   memory.    Numerics   f32; counts are exact below 2^24 pixels a block.    Deterministic: yes.
#include "kernels/common/launch.cuh"
#include "kernels/loss/mse.h"

namespace mfl::cuda {
namespace {

constexpr int kThreads = 256;

__device__ bool selected(PixelSet set, const float* target) {
  return set == PixelSet::all || (set == PixelSet::foreground ? target[3] > 0.5f : target[3] < 0.5f);
}

// The image that the render is compared with: the target's RGB, or one colour everywhere.
struct Wanted {
  bool given = false;
  float rgb[3] = {};
  __device__ float operator()(const float* target, int c) const { return given ? rgb[c] : target[c]; }
};
Wanted wanted_of(const std::array<double, 3>* colour) {
  Wanted w;
  if (colour) w = {true, {float((*colour)[0]), float((*colour)[1]), float((*colour)[2])}};
  return w;
}

__global__ void mse_partial_kernel(const float* __restrict__ gRender, const float* __restrict__ gTarget, int channels,
                                   PixelSet set, Wanted wanted, std::int64_t pixels, float* __restrict__ gParts) {
  float sum = 0, count = 0;
  const std::int64_t step = std::int64_t(gridDim.x) * kThreads;
  for (std::int64_t p = std::int64_t(blockIdx.x) * kThreads + threadIdx.x; p < pixels; p += step) {
    const float* target = gTarget + p * channels;
    if (!selected(set, target)) continue;
    count += 1;
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      const float e = gRender[p * 3 + c] - wanted(target, c);
      sum += e * e;
    }
  }
  sum = block_sum<kThreads>(sum);
  count = block_sum<kThreads>(count);
  if (threadIdx.x == 0) gParts[2 * blockIdx.x] = sum, gParts[2 * blockIdx.x + 1] = count;
}

__global__ void mse_sum_kernel(const float* __restrict__ gParts, int parts, float* __restrict__ gLoss,
                               float* __restrict__ gCount) {
  float sum = 0, count = 0;
  for (int i = threadIdx.x; i < parts; i += kThreads) sum += gParts[2 * i], count += gParts[2 * i + 1];
  sum = block_sum<kThreads>(sum);
  count = block_sum<kThreads>(count);
  if (threadIdx.x == 0) *gLoss = sum / (3 * fmaxf(count, 1.0f)), *gCount = count;
}

__global__ void mse_bwd_kernel(const float* __restrict__ gRender, const float* __restrict__ gTarget, int channels,
                               PixelSet set, Wanted wanted, std::int64_t pixels, const float* __restrict__ gCount,
                               float weight,
                               float* __restrict__ gDrender, bool accumulate) {
  const std::int64_t p = std::int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (p >= pixels) return;
  const float* target = gTarget + p * channels;
  const float factor = selected(set, target) ? 2 * weight / (3 * fmaxf(*gCount, 1.0f)) : 0.0f;
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const float before = accumulate ? gDrender[p * 3 + c] : 0.0f;
    // An unselected pixel may hold anything; it does not take part.
    gDrender[p * 3 + c] = before + (factor == 0 ? 0.0f : factor * (gRender[p * 3 + c] - wanted(target, c)));
  }
}

}  // namespace

void mse_fwd(const Stream& s, const MseFwd& a) {
  const std::int64_t pixels = a.render.shape.rows();
  const int parts = int(mse_scratch(pixels) / 2);
  mse_partial_kernel<<<unsigned(parts), kThreads, 0, native(s)>>>(pointer<float>(a.render), pointer<float>(a.target),
                                                                  int(a.target.shape[3]), a.pixels,
                                                                  wanted_of(a.colour), pixels, pointer<float>(a.scratch));
  check_launch("mse_partial_kernel", s);
  mse_sum_kernel<<<1, kThreads, 0, native(s)>>>(pointer<float>(ConstView(a.scratch)), parts, pointer<float>(a.loss),
                                                pointer<float>(a.count));
  check_launch("mse_sum_kernel", s);
}

void mse_bwd(const Stream& s, const MseBwd& a) {
  const std::int64_t pixels = a.render.shape.rows();
  if (pixels == 0) return;
  mse_bwd_kernel<<<unsigned(ceil_div(pixels, kThreads)), kThreads, 0, native(s)>>>(
      pointer<float>(a.render), pointer<float>(a.target), int(a.target.shape[3]), a.pixels, wanted_of(a.colour), pixels,
      pointer<float>(a.count),
      float(a.weight), pointer<float>(a.drender), a.drender_mode == GradMode::accumulate);
  check_launch("mse_bwd_kernel", s);
}

}  // namespace mfl::cuda
