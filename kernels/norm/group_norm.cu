// Group norm with SiLU.
//   Map        gridDim.x = group_norm_parts blocks share one image's pixels, blockIdx.y is the image. In a block, `lanes`
//              neighbouring threads hold the channel packs of a pixel (16 bytes where that fits), the rest of the block's
//              threads take the next pixels; with more packs than threads the block passes over its pixels again. A thread
//              meets the same channels in every pixel, so its weights and sums stay in registers.
//              Forward: sums of a part (1), then normalise (2). Backward: two sums a channel of a part (1), their totals of
//              the image and its groups' means (2), dx (3), and the totals over images (4).
//   Bytes      forward 2n + 2n + 2n, backward 4n + 4n + 2n (bf16); the second reading of small images comes from L2.
//   Bound by   memory.
//   Numerics   sums in f32 of x less the group's first value, so that a large mean costs no digits.
//   Deterministic: yes.
#include <algorithm>
#include <type_traits>

#include "kernels/common/launch.cuh"
#include "kernels/common/pack.cuh"
#include "kernels/norm/group_norm.h"

namespace mfl::cuda {
namespace {

constexpr int kThreads = 256;

// Sizes of one call. An image's channels form `packs` packs; `lanes` of them at a time, kThreads / lanes pixels at a time.
struct Sizes {
  std::int64_t pixels, share;  // of an image, of a part
  int channels, groups, width, packs, lanes, parts;
};

__device__ inline float sigmoid(float z) { return 1.0f / (1.0f + expf(-z)); }

// Element (n, p, c) of a feature map.
__device__ inline std::int64_t at(const Sizes& s, std::int64_t n, std::int64_t p, int c) {
  return (n * s.pixels + p) * s.channels + c;
}
// A block's pixels.
__device__ inline std::int64_t first_pixel(const Sizes& s) { return blockIdx.x * s.share; }
__device__ inline std::int64_t end_pixel(const Sizes& s) {
  const std::int64_t end = (blockIdx.x + 1) * s.share;
  return end < s.pixels ? end : s.pixels;
}

// Adds up the threads' two sums a channel over the pixels of a block, in the order of the threads, into sTotal[2][channels].
// sOne, sTwo: [kThreads * kPack]. Contains barriers; every thread takes part.
template <int kPack>
__device__ inline void total_of_channels(const Sizes& s, int pack0, const float (&one)[kPack], const float (&two)[kPack],
                                         float* sOne, float* sTwo, float* sTotal) {
  const int rows = kThreads / s.lanes;
#pragma unroll
  for (int e = 0; e < kPack; ++e)
    sOne[threadIdx.x * kPack + e] = one[e], sTwo[threadIdx.x * kPack + e] = two[e];
  __syncthreads();
  const int here = min(s.lanes, s.packs - pack0) * kPack;  // channels of this pass
  for (int c = threadIdx.x; c < here; c += kThreads) {
    float a = 0, b = 0;
    for (int r = 0; r < rows; ++r) a += sOne[r * s.lanes * kPack + c], b += sTwo[r * s.lanes * kPack + c];
    sTotal[pack0 * kPack + c] = a, sTotal[s.channels + pack0 * kPack + c] = b;
  }
  __syncthreads();
}

// ---- forward ----

// gPartial [N, parts, groups, 2]: sums of x - shift and of its square; shift is the group's first value in the image.
template <int kPack, class T>
__global__ void __launch_bounds__(kThreads)
    group_norm_sums_kernel(const T* __restrict__ gX, float* __restrict__ gPartial, Sizes s) {
  extern __shared__ float shared[];
  float *sOne = shared, *sTwo = sOne + kThreads * kPack, *sTotal = sTwo + kThreads * kPack;
  const std::int64_t n = blockIdx.y;
  const int lane = threadIdx.x % s.lanes, row = threadIdx.x / s.lanes, rows = kThreads / s.lanes;
  for (int pack0 = 0; pack0 < s.packs; pack0 += s.lanes) {
    float sum[kPack] = {}, square[kPack] = {}, shift[kPack];
    const int c = (pack0 + lane) * kPack;
    if (row < rows && pack0 + lane < s.packs) {
#pragma unroll
      for (int e = 0; e < kPack; ++e) shift[e] = to_float(gX[at(s, n, 0, (c + e) / s.width * s.width)]);
      for (std::int64_t p = first_pixel(s) + row; p < end_pixel(s); p += rows) {
        const auto x = load_pack<kPack>(gX + at(s, n, p, c));
#pragma unroll
        for (int e = 0; e < kPack; ++e) {
          const float d = to_float(x.v[e]) - shift[e];
          sum[e] += d;
          square[e] += d * d;
        }
      }
    }
    total_of_channels<kPack>(s, pack0, sum, square, sOne, sTwo, sTotal);
  }
  for (int g = threadIdx.x; g < s.groups; g += kThreads) {
    float sum = 0, square = 0;
    for (int c = g * s.width; c < (g + 1) * s.width; ++c) sum += sTotal[c], square += sTotal[s.channels + c];
    float* out = gPartial + ((n * s.parts + blockIdx.x) * s.groups + g) * 2;
    out[0] = sum, out[1] = square;
  }
}

template <int kPack, class T>
__global__ void __launch_bounds__(kThreads)
    group_norm_fwd_kernel(const T* gX, const float* __restrict__ gWeight, const float* __restrict__ gBias,
                          const float* __restrict__ gPartial, T* gY, float* __restrict__ gMean, float* __restrict__ gRstd,
                          Sizes s, float eps, bool silu, const float* __restrict__ gShift) {
  extern __shared__ float shared[];
  float *sMean = shared, *sRstd = shared + s.groups;
  const std::int64_t n = blockIdx.y;
  for (int g = threadIdx.x; g < s.groups; g += kThreads) {
    double sum = 0, square = 0;
    for (int part = 0; part < s.parts; ++part) {
      const float* in = gPartial + ((n * s.parts + part) * s.groups + g) * 2;
      sum += double(in[0]), square += double(in[1]);
    }
    const double count = double(s.pixels) * double(s.width), offset = sum / count;
    const double variance = square / count - offset * offset;
    sMean[g] = float(double(gShift[n * s.groups + g]) + offset);
    sRstd[g] = float(1.0 / sqrt((variance > 0 ? variance : 0) + double(eps)));
    if (gMean && blockIdx.x == 0) gMean[n * s.groups + g] = sMean[g], gRstd[n * s.groups + g] = sRstd[g];
  }
  __syncthreads();
  const int lane = threadIdx.x % s.lanes, row = threadIdx.x / s.lanes, rows = kThreads / s.lanes;
  for (int pack0 = 0; pack0 < s.packs; pack0 += s.lanes) {
    if (row >= rows || pack0 + lane >= s.packs) continue;
    const int c = (pack0 + lane) * kPack;
    float mean[kPack], scale[kPack], bias[kPack];
#pragma unroll
    for (int e = 0; e < kPack; ++e) {
      const int g = (c + e) / s.width;
      mean[e] = sMean[g], scale[e] = sRstd[g] * gWeight[c + e], bias[e] = gBias[c + e];
    }
    for (std::int64_t p = first_pixel(s) + row; p < end_pixel(s); p += rows) {
      const auto x = load_pack<kPack>(gX + at(s, n, p, c));
      Pack<T, kPack> y;
#pragma unroll
      for (int e = 0; e < kPack; ++e) {
        const float z = (to_float(x.v[e]) - mean[e]) * scale[e] + bias[e];
        y.v[e] = from_float<T>(silu ? z * sigmoid(z) : z);
      }
      store_pack<kPack>(gY + at(s, n, p, c), y);
    }
  }
}

// The shifts, taken before anything may overwrite x. [N, groups]
template <class T>
__global__ void __launch_bounds__(kThreads)
    group_norm_shift_kernel(const T* __restrict__ gX, float* __restrict__ gShift, Sizes s, std::int64_t images) {
  const std::int64_t i = std::int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i < images * s.groups) gShift[i] = to_float(gX[at(s, i / s.groups, 0, int(i % s.groups) * s.width)]);
}

// ---- backward ----

// dz of one element.
__device__ inline float gradient_of_z(float dy, float xhat, float weight, float bias, bool silu) {
  if (!silu) return dy;
  const float z = xhat * weight + bias, v = sigmoid(z);
  return dy * v * (1.0f + z * (1.0f - v));
}

// gPartial [N, parts, 2, channels]: sums of dz * xhat and of dz.
template <int kPack, class T>
__global__ void __launch_bounds__(kThreads)
    group_norm_bwd_sums_kernel(const T* __restrict__ gX, const float* __restrict__ gWeight, const float* __restrict__ gBias,
                               const float* __restrict__ gMean, const float* __restrict__ gRstd, const T* __restrict__ gDy,
                               float* __restrict__ gPartial, Sizes s, bool silu) {
  extern __shared__ float shared[];
  float *sOne = shared, *sTwo = sOne + kThreads * kPack, *sTotal = sTwo + kThreads * kPack;
  const std::int64_t n = blockIdx.y;
  const int lane = threadIdx.x % s.lanes, row = threadIdx.x / s.lanes, rows = kThreads / s.lanes;
  for (int pack0 = 0; pack0 < s.packs; pack0 += s.lanes) {
    float dweight[kPack] = {}, dbias[kPack] = {};
    const int c = (pack0 + lane) * kPack;
    if (row < rows && pack0 + lane < s.packs) {
      float mean[kPack], rstd[kPack], weight[kPack], bias[kPack];
#pragma unroll
      for (int e = 0; e < kPack; ++e) {
        const std::int64_t g = n * s.groups + (c + e) / s.width;
        mean[e] = gMean[g], rstd[e] = gRstd[g], weight[e] = gWeight[c + e], bias[e] = gBias[c + e];
      }
      for (std::int64_t p = first_pixel(s) + row; p < end_pixel(s); p += rows) {
        const auto x = load_pack<kPack>(gX + at(s, n, p, c));
        const auto dy = load_pack<kPack>(gDy + at(s, n, p, c));
#pragma unroll
        for (int e = 0; e < kPack; ++e) {
          const float xhat = (to_float(x.v[e]) - mean[e]) * rstd[e];
          const float dz = gradient_of_z(to_float(dy.v[e]), xhat, weight[e], bias[e], silu);
          dweight[e] += dz * xhat;
          dbias[e] += dz;
        }
      }
    }
    total_of_channels<kPack>(s, pack0, dweight, dbias, sOne, sTwo, sTotal);
  }
  float* out = gPartial + (n * s.parts + blockIdx.x) * 2 * s.channels;
  for (int i = threadIdx.x; i < 2 * s.channels; i += kThreads) out[i] = sTotal[i];
}

// One block an image: gImage [N, 2, channels] the sums over its parts, gGroup [N, groups, 2] mean(g) and mean(g * xhat).
__global__ void __launch_bounds__(kThreads)
    group_norm_bwd_image_kernel(const float* __restrict__ gPartial, const float* __restrict__ gWeight,
                                float* __restrict__ gImage, float* __restrict__ gGroup, Sizes s) {
  extern __shared__ float shared[];  // [2 channels]
  const std::int64_t n = blockIdx.x;
  for (int i = threadIdx.x; i < 2 * s.channels; i += kThreads) {
    float sum = 0;
    for (int part = 0; part < s.parts; ++part) sum += gPartial[(n * s.parts + part) * 2 * s.channels + i];
    shared[i] = sum;
    gImage[n * 2 * s.channels + i] = sum;
  }
  __syncthreads();
  for (int g = threadIdx.x; g < s.groups; g += kThreads) {
    float sum_g = 0, sum_gx = 0;
    for (int c = g * s.width; c < (g + 1) * s.width; ++c)
      sum_gx += gWeight[c] * shared[c], sum_g += gWeight[c] * shared[s.channels + c];
    const float count = float(s.pixels) * float(s.width);
    gGroup[(n * s.groups + g) * 2] = sum_g / count, gGroup[(n * s.groups + g) * 2 + 1] = sum_gx / count;
  }
}

// gDx may be gDy.
template <int kPack, class T>
__global__ void __launch_bounds__(kThreads)
    group_norm_dx_kernel(const T* __restrict__ gX, const float* __restrict__ gWeight, const float* __restrict__ gBias,
                         const float* __restrict__ gMean, const float* __restrict__ gRstd, const float* __restrict__ gGroup,
                         const T* gDy, T* gDx, Sizes s, bool silu, bool accumulate) {
  const std::int64_t n = blockIdx.y;
  const int lane = threadIdx.x % s.lanes, row = threadIdx.x / s.lanes, rows = kThreads / s.lanes;
  for (int pack0 = 0; pack0 < s.packs; pack0 += s.lanes) {
    if (row >= rows || pack0 + lane >= s.packs) continue;
    const int c = (pack0 + lane) * kPack;
    float mean[kPack], rstd[kPack], weight[kPack], bias[kPack], mean_g[kPack], mean_gx[kPack];
#pragma unroll
    for (int e = 0; e < kPack; ++e) {
      const std::int64_t g = n * s.groups + (c + e) / s.width;
      mean[e] = gMean[g], rstd[e] = gRstd[g], weight[e] = gWeight[c + e], bias[e] = gBias[c + e];
      mean_g[e] = gGroup[2 * g], mean_gx[e] = gGroup[2 * g + 1];
    }
    for (std::int64_t p = first_pixel(s) + row; p < end_pixel(s); p += rows) {
      const std::int64_t i = at(s, n, p, c);
      const auto x = load_pack<kPack>(gX + i);
      const auto dy = load_pack<kPack>(gDy + i);
      Pack<T, kPack> dx{};
      if (accumulate) dx = load_pack<kPack>(gDx + i);
#pragma unroll
      for (int e = 0; e < kPack; ++e) {
        const float xhat = (to_float(x.v[e]) - mean[e]) * rstd[e];
        const float dz = gradient_of_z(to_float(dy.v[e]), xhat, weight[e], bias[e], silu);
        const float d = rstd[e] * (dz * weight[e] - mean_g[e] - xhat * mean_gx[e]);
        dx.v[e] = from_float<T>(accumulate ? to_float(dx.v[e]) + d : d);
      }
      store_pack<kPack>(gDx + i, dx);
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    group_norm_dw_kernel(const float* __restrict__ gImage, float* __restrict__ gDweight, float* __restrict__ gDbias,
                         std::int64_t images, int channels, bool accumulate) {
  const int c = blockIdx.x * kThreads + threadIdx.x;
  if (c >= channels) return;
  float dweight = 0, dbias = 0;
  for (std::int64_t n = 0; n < images; ++n)
    dweight += gImage[n * 2 * channels + c], dbias += gImage[(n * 2 + 1) * channels + c];
  gDweight[c] = accumulate ? gDweight[c] + dweight : dweight;
  gDbias[c] = accumulate ? gDbias[c] + dbias : dbias;
}

// ---- launches ----

Sizes sizes_of(const Shape& x, int groups, int pack) {
  Sizes s{};
  s.pixels = x.rows() / x[0];
  s.parts = int(group_norm_parts(x));
  s.share = ceil_div(s.pixels, std::int64_t(s.parts));
  s.channels = int(x[-1]), s.groups = groups, s.width = s.channels / groups;
  s.packs = s.channels / pack;
  s.lanes = std::min(s.packs, kThreads);
  return s;
}

// f(integral_constant<int, elements of 16 bytes>) where channels and pointers allow it, else f(integral_constant<int, 1>).
template <class T, class F>
void dispatch_pack(std::int64_t channels, bool aligned, F&& f) {
  constexpr int kFull = 16 / int(sizeof(T));
  if (aligned && channels % kFull == 0) f(std::integral_constant<int, kFull>{});
  else f(std::integral_constant<int, 1>{});
}

std::size_t sums_bytes(const Sizes& s, int pack) { return sizeof(float) * std::size_t(2 * kThreads * pack + 2 * s.channels); }

}  // namespace

void group_norm_fwd(const Stream& s, const GroupNormFwd& a) {
  const std::int64_t images = a.x.shape[0];
  dispatch_gpu("group_norm_fwd", a.x.dtype, [&](auto t) {
    using T = decltype(t);
    dispatch_pack<T>(a.x.shape[-1], aligned16(a.x.data) && aligned16(a.y.data), [&](auto pack) {
      constexpr int kPack = decltype(pack)::value;
      using D = device_t<T>;
      const Sizes sizes = sizes_of(a.x.shape, a.groups, kPack);
      const dim3 grid(unsigned(sizes.parts), unsigned(images));
      float* partial = pointer<float>(a.scratch);
      float* shift = partial + 2 * images * sizes.parts * a.groups;
      group_norm_shift_kernel<D><<<unsigned(ceil_div(images * a.groups, kThreads)), kThreads, 0, native(s)>>>(
          pointer<T>(a.x), shift, sizes, images);
      check_launch("group_norm_shift_kernel", s);
      const std::size_t bytes = sums_bytes(sizes, kPack);
      allow_shared(group_norm_sums_kernel<kPack, D>, bytes);
      group_norm_sums_kernel<kPack, D><<<grid, kThreads, bytes, native(s)>>>(pointer<T>(a.x), partial, sizes);
      check_launch("group_norm_sums_kernel", s);
      group_norm_fwd_kernel<kPack, D><<<grid, kThreads, 2 * sizeof(float) * std::size_t(a.groups), native(s)>>>(
          pointer<T>(a.x), pointer<float>(a.weight), pointer<float>(a.bias), partial, pointer<T>(a.y),
          pointer<float>(a.mean), pointer<float>(a.rstd), sizes, a.eps, a.silu, shift);
      check_launch("group_norm_fwd_kernel", s);
    });
  });
}

void group_norm_bwd(const Stream& s, const GroupNormBwd& a) {
  const bool input = a.dx_mode != GradMode::ignore, weights = a.dw_mode != GradMode::ignore;
  if (!input && !weights) return;
  const std::int64_t images = a.x.shape[0];
  dispatch_gpu("group_norm_bwd", a.x.dtype, [&](auto t) {
    using T = decltype(t);
    const bool aligned = aligned16(a.x.data) && aligned16(a.dy.data) && (!input || aligned16(a.dx.data));
    dispatch_pack<T>(a.x.shape[-1], aligned, [&](auto pack) {
      constexpr int kPack = decltype(pack)::value;
      using D = device_t<T>;
      const Sizes sizes = sizes_of(a.x.shape, a.groups, kPack);
      const dim3 grid(unsigned(sizes.parts), unsigned(images));
      float* partial = pointer<float>(a.scratch);
      float* image = partial + 2 * images * sizes.parts * sizes.channels;
      float* group = image + 2 * images * sizes.channels;
      const D *x = pointer<T>(a.x), *dy = pointer<T>(a.dy);
      const float *weight = pointer<float>(a.weight), *bias = pointer<float>(a.bias), *mean = pointer<float>(a.mean),
                  *rstd = pointer<float>(a.rstd);
      const std::size_t bytes = sums_bytes(sizes, kPack), total = 2 * sizeof(float) * std::size_t(sizes.channels);
      allow_shared(group_norm_bwd_sums_kernel<kPack, D>, bytes);
      group_norm_bwd_sums_kernel<kPack, D><<<grid, kThreads, bytes, native(s)>>>(x, weight, bias, mean, rstd, dy, partial,
                                                                                sizes, a.silu);
      check_launch("group_norm_bwd_sums_kernel", s);
      allow_shared(group_norm_bwd_image_kernel, total);
      group_norm_bwd_image_kernel<<<unsigned(images), kThreads, total, native(s)>>>(partial, weight, image, group, sizes);
      check_launch("group_norm_bwd_image_kernel", s);
      if (input) {
        group_norm_dx_kernel<kPack, D><<<grid, kThreads, 0, native(s)>>>(
            x, weight, bias, mean, rstd, group, dy, pointer<T>(a.dx), sizes, a.silu, a.dx_mode == GradMode::accumulate);
        check_launch("group_norm_dx_kernel", s);
      }
      if (weights) {
        group_norm_dw_kernel<<<unsigned(ceil_div(sizes.channels, kThreads)), kThreads, 0, native(s)>>>(
            image, pointer<float>(a.dweight), pointer<float>(a.dbias), images, sizes.channels,
            a.dw_mode == GradMode::accumulate);
        check_launch("group_norm_dw_kernel", s);
      }
    });
  });
}

}  // namespace mfl::cuda
