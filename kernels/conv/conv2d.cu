// Convolution.
//   Map        input and output channels in multiples of 8: cuDNN (cudnn.h), with bias and ReLU in the same call. The rest,
//              the first and last layers of networks, is bound by memory: the direct kernel below serves both directions, as
//                out[n,h,w,c] = sum over taps and k of in[n, at(h), at(w), k] w[tap, k, c];
//              a thread sums kPixels pixels x kChannels channels in registers; the tap's weights pass through shared memory
//              in f32; input channels are read in packs of up to 16 bytes.
//              Weight gradients of the latter: a block owns a tile of output times input channels of one tap and a part of
//              the pixels, in batches through shared memory; parts are added in their order. dbias likewise.
//   Bytes      (NHWI + NPQO) sizeof(T), and with ReLU 3 NPQO sizeof(T) more in the backward: dz = dy where y > 0.
//   Bound by   tensor cores for the wide layers, memory for the direct kernel.
//   Numerics   sums in f32.    Deterministic: yes.
#include <type_traits>

#include "kernels/common/map.cuh"
#include "kernels/conv/conv2d.h"
#include "kernels/conv/cudnn.h"

namespace mfl::cuda {
namespace {

constexpr int kThreads = 256, kDepth = 64;   // kDepth: input channels whose weights are in shared memory at a time

struct Geometry {
  std::int64_t pixels;                        // of `out`
  int in_h, in_w, in_c, out_h, out_w, out_c;  // of `in` and `out` of the sum above
  int kernel_h, kernel_w, stride, pad;
  bool transposed;                            // the gradient: at(h) = (h + pad - kh) / stride, where that is whole
  std::int64_t step_c, step_k, step_tap;      // elements between neighbours in the packed weights
};

// The element that a tap reads along one axis, or -1.
__device__ inline int tap_index(const Geometry& g, int out, int k, int size) {
  if (!g.transposed) {
    const int i = out * g.stride + k - g.pad;
    return i >= 0 && i < size ? i : -1;
  }
  const int i = out + g.pad - k;
  return i >= 0 && i % g.stride == 0 && i / g.stride < size ? i / g.stride : -1;
}

template <class T, int kPixels, int kChannels, int kGroups, int kPack>
__global__ void __launch_bounds__(kThreads)
conv_direct_kernel(const T* __restrict__ gIn, const T* __restrict__ gWeight, const T* __restrict__ gBias, T* gOut, Geometry g,
                   bool relu, bool accumulate) {
  constexpr int kWidth = kChannels * kGroups, kLanes = kThreads / kGroups;
  __shared__ alignas(16) float sWeight[kDepth][kWidth + 4];
  const int group = threadIdx.x % kGroups, lane = threadIdx.x / kGroups, c0 = blockIdx.y * kWidth;
  int n[kPixels], h[kPixels], w[kPixels];
  float sum[kPixels][kChannels] = {};
#pragma unroll
  for (int j = 0; j < kPixels; ++j) {
    const std::int64_t p = (std::int64_t(blockIdx.x) * kPixels + j) * kLanes + lane;
    n[j] = p < g.pixels ? int(p / (g.out_h * g.out_w)) : -1;
    h[j] = int(p / g.out_w % g.out_h);
    w[j] = int(p % g.out_w);
  }
  for (int tap = 0; tap < g.kernel_h * g.kernel_w; ++tap) {
    const T* pixel[kPixels];
#pragma unroll
    for (int j = 0; j < kPixels; ++j) {
      const int row = n[j] < 0 ? -1 : tap_index(g, h[j], tap / g.kernel_w, g.in_h);
      const int column = tap_index(g, w[j], tap % g.kernel_w, g.in_w);
      pixel[j] = row < 0 || column < 0 ? nullptr
                                       : gIn + ((std::int64_t(n[j]) * g.in_h + row) * g.in_w + column) * g.in_c;
    }
    for (int k0 = 0; k0 < g.in_c; k0 += kDepth) {
      const int depth = min(kDepth, g.in_c - k0);
      __syncthreads();
      for (int i = threadIdx.x; i < depth * kWidth; i += kThreads) {
        // Neighbouring threads read neighbouring weights: along k forward, along c in the gradient.
        const int k = g.transposed ? i / kWidth : i % depth, c = g.transposed ? i % kWidth : i / depth;
        sWeight[k][c] = c0 + c < g.out_c
                            ? to_float(gWeight[tap * g.step_tap + (k0 + k) * g.step_k + (c0 + c) * g.step_c])
                            : 0.0f;
      }
      __syncthreads();
      for (int k = 0; k < depth; k += kPack) {
        Pack<T, kPack> x[kPixels];
#pragma unroll
        for (int j = 0; j < kPixels; ++j)
          x[j] = pixel[j] ? *reinterpret_cast<const Pack<T, kPack>*>(pixel[j] + k0 + k) : Pack<T, kPack>{};
#pragma unroll
        for (int q = 0; q < kPack; ++q) {
          float weight[kChannels];
#pragma unroll
          for (int c = 0; c < kChannels; c += 4) {
            const float4 v = *reinterpret_cast<const float4*>(&sWeight[k + q][group * kChannels + c]);
            weight[c] = v.x, weight[c + 1] = v.y, weight[c + 2] = v.z, weight[c + 3] = v.w;
          }
#pragma unroll
          for (int j = 0; j < kPixels; ++j)
#pragma unroll
            for (int c = 0; c < kChannels; ++c) sum[j][c] = fmaf(to_float(x[j].v[q]), weight[c], sum[j][c]);
        }
      }
    }
  }
#pragma unroll
  for (int j = 0; j < kPixels; ++j) {
    if (n[j] < 0) continue;
    T* out = gOut + ((std::int64_t(n[j]) * g.out_h + h[j]) * g.out_w + w[j]) * g.out_c + c0 + group * kChannels;
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
      const int channel = c0 + group * kChannels + c;
      if (channel >= g.out_c) break;
      float v = sum[j][c] + (gBias ? to_float(gBias[channel]) : 0.0f);
      if (relu && v <= 0) v = 0;
      if (accumulate) v += to_float(out[c]);
      out[c] = from_float<T>(v);
    }
  }
}

template <class T, int kPixels, int kChannels, int kGroups>
void direct(const Stream& s, const T* in, const T* weight, const T* bias, T* out, const Geometry& g, bool relu,
            bool accumulate) {
  if (g.pixels == 0) return;
  constexpr int kFull = 16 / int(sizeof(T));
  const dim3 grid(unsigned(ceil_div(g.pixels, kThreads / kGroups * kPixels)),
                  unsigned(ceil_div(g.out_c, kChannels * kGroups)));
  // A pack must not cross the end of a pixel, nor of the weights in shared memory (kDepth is a multiple of every pack).
  if (g.in_c % kFull == 0 && aligned16(in))
    conv_direct_kernel<T, kPixels, kChannels, kGroups, kFull>
        <<<grid, kThreads, 0, native(s)>>>(in, weight, bias, out, g, relu, accumulate);
  else
    conv_direct_kernel<T, kPixels, kChannels, kGroups, 1>
        <<<grid, kThreads, 0, native(s)>>>(in, weight, bias, out, g, relu, accumulate);
  check_launch("conv_direct_kernel", s);
}

// Few output channels: a thread holds them all. Many: eight threads share a pixel, eight channels each.
template <class T>
void direct(const Stream& s, const T* in, const T* weight, const T* bias, T* out, const Geometry& g, bool relu,
            bool accumulate) {
  if (g.out_c <= 4) direct<T, 2, 4, 1>(s, in, weight, bias, out, g, relu, accumulate);
  else direct<T, 4, 8, 8>(s, in, weight, bias, out, g, relu, accumulate);
}

Geometry geometry(const Shape& in, const Shape& out, const Shape& weight, int stride, int pad, bool transposed) {
  const std::int64_t taps = weight[1] * weight[2], inner = weight[3];
  return {out.rows(), int(in[1]), int(in[2]), int(in[3]), int(out[1]), int(out[2]), int(out[3]), int(weight[1]),
          int(weight[2]), stride, pad, transposed, transposed ? 1 : taps * inner, transposed ? taps * inner : 1, inner};
}

ConvShape conv_shape(DType t, const Shape& x, const Shape& y, const Shape& weight, int stride, int pad) {
  return {t,           int(x[0]), int(x[1]),      int(x[2]),      int(x[3]), int(y[1]),
          int(y[2]),   int(y[3]), int(weight[1]), int(weight[2]), stride,    pad};
}

bool for_cudnn(const Shape& weight) { return weight[0] % 8 == 0 && weight[3] % 8 == 0; }

template <class T>
__global__ void bias_act_kernel(T* gY, const T* __restrict__ gBias, std::int64_t n, int channels, bool relu) {
  const std::int64_t i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float v = to_float(gY[i]) + (gBias ? to_float(gBias[i % channels]) : 0.0f);
  if (relu && v <= 0) v = 0;
  gY[i] = from_float<T>(v);
}

struct ReluGradient {
  __device__ float operator()(float dy, float y, float) const { return y > 0 ? dy : 0.0f; }
};

template <class W, class P>
__global__ void conv_pack_kernel(const W* __restrict__ gWeight, P* __restrict__ gPacked, std::int64_t n, int in, int taps) {
  const std::int64_t i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;   // of packed [O, taps, I]
  if (i >= n) return;
  const std::int64_t c = i % in, t = i / in % taps, o = i / in / taps;
  gPacked[i] = from_float<P>(to_float(gWeight[(o * in + c) * taps + t]));
}

// ---- weight gradients ----

constexpr int kBatch = 16;  // pixels in shared memory at a time

// gPartial [parts, O, taps, I] (gridDim.z = parts): a part's sums of dy x. kO x kI channels a block, 256 threads; a thread
// sums kPerO x kPerI of them.
template <class T, int kO, int kI, int kPerO, int kPerI>
__global__ void __launch_bounds__(kThreads)
conv_weight_kernel(const T* __restrict__ gX, const T* __restrict__ gDy, float* __restrict__ gPartial, Geometry g,
                   std::int64_t share) {
  static_assert(kO / kPerO * (kI / kPerI) == kThreads);
  __shared__ float sX[kBatch][kI], sDy[kBatch][kO];
  __shared__ std::int64_t sPixel[kBatch];
  const int taps = g.kernel_h * g.kernel_w, tap = int(blockIdx.y) % taps, o0 = int(blockIdx.y) / taps * kO;
  const int i0 = int(blockIdx.x) * kI, to_o = int(threadIdx.x) / (kI / kPerI) * kPerO;
  const int to_i = int(threadIdx.x) % (kI / kPerI);  // and every kI / kPerI-th after it
  const std::int64_t from = blockIdx.z * share, to = from + share < g.pixels ? from + share : g.pixels;
  float sum[kPerO][kPerI] = {};
  for (std::int64_t p0 = from; p0 < to; p0 += kBatch) {
    __syncthreads();
    if (threadIdx.x < kBatch) {
      const std::int64_t p = p0 + threadIdx.x;
      sPixel[threadIdx.x] = -1;
      if (p < to) {
        const int n = int(p / (g.out_h * g.out_w));
        const int row = tap_index(g, int(p / g.out_w % g.out_h), tap / g.kernel_w, g.in_h);
        const int column = tap_index(g, int(p % g.out_w), tap % g.kernel_w, g.in_w);
        if (row >= 0 && column >= 0) sPixel[threadIdx.x] = (std::int64_t(n) * g.in_h + row) * g.in_w + column;
      }
    }
    __syncthreads();
    for (int e = threadIdx.x; e < kBatch * kI; e += kThreads) {
      const int b = e / kI, i = i0 + e % kI;
      sX[b][e % kI] = sPixel[b] >= 0 && i < g.in_c ? to_float(gX[sPixel[b] * g.in_c + i]) : 0.0f;
    }
    for (int e = threadIdx.x; e < kBatch * kO; e += kThreads) {
      const int b = e / kO, o = o0 + e % kO;
      sDy[b][e % kO] = p0 + b < to && o < g.out_c ? to_float(gDy[(p0 + b) * g.out_c + o]) : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      float x[kPerI];
#pragma unroll
      for (int i = 0; i < kPerI; ++i) x[i] = sX[b][to_i + i * (kI / kPerI)];
#pragma unroll
      for (int o = 0; o < kPerO; ++o) {
        const float d = sDy[b][to_o + o];
#pragma unroll
        for (int i = 0; i < kPerI; ++i) sum[o][i] = fmaf(d, x[i], sum[o][i]);
      }
    }
  }
#pragma unroll
  for (int o = 0; o < kPerO; ++o)
#pragma unroll
    for (int i = 0; i < kPerI; ++i) {
      const int out = o0 + to_o + o, in = i0 + to_i + i * (kI / kPerI);
      if (out < g.out_c && in < g.in_c)
        gPartial[((std::int64_t(blockIdx.z) * g.out_c + out) * taps + tap) * g.in_c + in] = sum[o][i];
    }
}

// gPartial [parts, O]: sums of dy over a part of the pixels, one thread a channel.
template <class T>
__global__ void conv_bias_kernel(const T* __restrict__ gDy, float* __restrict__ gPartial, std::int64_t pixels, int channels,
                                 std::int64_t share) {
  const int o = blockIdx.x * blockDim.x + threadIdx.x;
  if (o >= channels) return;
  const std::int64_t from = blockIdx.y * share, to = from + share < pixels ? from + share : pixels;
  float sum = 0;
  for (std::int64_t p = from; p < to; ++p) sum += to_float(gDy[p * channels + o]);
  gPartial[blockIdx.y * std::int64_t(channels) + o] = sum;
}

// out[i] (+)= sum over parts of gPartial[part][i], in their order.
template <class T>
__global__ void conv_sum_parts_kernel(const T* __restrict__ gPartial, float* __restrict__ gOut, std::int64_t n, int parts,
                                      bool accumulate) {
  const std::int64_t i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float sum = 0;
  for (int part = 0; part < parts; ++part) sum += to_float(gPartial[part * n + i]);
  gOut[i] = accumulate ? gOut[i] + sum : sum;
}

template <class T>
void sum_parts(const Stream& s, const T* partial, float* out, std::int64_t n, int parts, bool accumulate) {
  conv_sum_parts_kernel<<<unsigned(ceil_div(n, std::int64_t{256})), 256, 0, native(s)>>>(partial, out, n, parts, accumulate);
  check_launch("conv_sum_parts_kernel", s);
}

template <class T, int kO, int kI, int kPerO, int kPerI>
void direct_weight(const Stream& s, const T* x, const T* dy, float* partial, const Geometry& g, int parts) {
  const dim3 grid(unsigned(ceil_div(g.in_c, kI)), unsigned(ceil_div(g.out_c, kO) * g.kernel_h * g.kernel_w),
                  unsigned(parts));
  conv_weight_kernel<T, kO, kI, kPerO, kPerI><<<grid, kThreads, 0, native(s)>>>(x, dy, partial, g,
                                                                                ceil_div(g.pixels, std::int64_t(parts)));
  check_launch("conv_weight_kernel", s);
}

}  // namespace

void conv2d_pack(const Stream& s, const Conv2dPack& a) {
  const std::int64_t n = a.weight.numel();
  if (n == 0) return;
  MFL_CHECK(a.weight.dtype == DType::f32, "conv2d_pack: ", a.weight.dtype, " is not supported on CUDA (f32 is)");
  dispatch_gpu("conv2d_pack", a.packed.dtype, [&](auto t) {
    conv_pack_kernel<<<unsigned(ceil_div(n, 256)), 256, 0, native(s)>>>(
        pointer<float>(a.weight), pointer<decltype(t)>(a.packed), n, int(a.weight.shape[1]),
        int(a.weight.shape[2] * a.weight.shape[3]));
    check_launch("conv_pack_kernel", s);
  });
}

void conv2d_fwd(const Stream& s, const Conv2dFwd& a) {
  if (a.y.numel() == 0) return;
  dispatch_gpu("conv2d_fwd", a.x.dtype, [&](auto t) {
    using T = decltype(t);
    ConvDone done = ConvDone::nothing;
    if (for_cudnn(a.weight.shape))
      done = cudnn_conv_fwd(s, conv_shape(a.x.dtype, a.x.shape, a.y.shape, a.weight.shape, a.stride, a.pad), a.x.data,
                            a.weight.data, a.bias.data, a.relu, a.y.data);
    if (done == ConvDone::nothing)
      direct(s, pointer<T>(a.x), pointer<T>(a.weight), pointer<T>(a.bias), pointer<T>(a.y),
             geometry(a.x.shape, a.y.shape, a.weight.shape, a.stride, a.pad, false), a.relu, false);
    if (done == ConvDone::product && (a.bias || a.relu)) {
      const std::int64_t n = a.y.numel();
      bias_act_kernel<<<unsigned(ceil_div(n, 256)), 256, 0, native(s)>>>(pointer<T>(a.y), pointer<T>(a.bias), n,
                                                                        int(a.y.shape[3]), a.relu);
      check_launch("bias_act_kernel", s);
    }
  });
}

void conv2d_bwd_input(const Stream& s, const Conv2dBwdInput& a) {
  if (a.dx.numel() == 0) return;
  dispatch_gpu("conv2d_bwd_input", a.weight.dtype, [&](auto t) {
    using T = decltype(t);
    ConstView dz = a.dy;
    if (a.y) {
      map<false>("relu_gradient", s, pointer<T>(a.dy), pointer<T>(a.y), pointer<T>(a.scratch), a.dy.numel(), ReluGradient{});
      dz = a.scratch;
    }
    const bool accumulate = a.dx_mode == GradMode::accumulate;
    if (for_cudnn(a.weight.shape) &&
        cudnn_conv_bwd_input(s, conv_shape(a.weight.dtype, a.dx.shape, a.dy.shape, a.weight.shape, a.stride, a.pad), dz.data,
                             a.weight.data, a.dx.data, accumulate))
      return;
    direct(s, pointer<T>(dz), pointer<T>(a.weight), static_cast<const device_t<T>*>(nullptr), pointer<T>(a.dx),
           geometry(a.dy.shape, a.dx.shape, a.weight.shape, a.stride, a.pad, true), false, accumulate);
  });
}

void conv2d_bwd_weight(const Stream& s, const Conv2dBwdWeight& a) {
  if (a.dweight.numel() == 0) return;
  const bool accumulate = a.dw_mode == GradMode::accumulate;
  const std::int64_t pixels = a.dy.shape.rows(), n = a.dweight.numel();
  const int outputs = int(a.dy.shape[3]);
  dispatch_gpu("conv2d_bwd_weight", a.x.dtype, [&](auto t) {
    using T = decltype(t);
    const int bias_parts = int(conv2d_bias_parts(pixels));
    float* bias = pointer<float>(a.scratch);
    float* product = bias + (std::int64_t(bias_parts) * outputs + 63) / 64 * 64;
    if (a.dbias) {
      const dim3 grid(unsigned(ceil_div(outputs, 128)), unsigned(bias_parts));
      conv_bias_kernel<<<grid, 128, 0, native(s)>>>(pointer<T>(a.dy), bias, pixels, outputs,
                                                    ceil_div(pixels, std::int64_t(bias_parts)));
      check_launch("conv_bias_kernel", s);
      sum_parts(s, bias, pointer<float>(a.dbias), outputs, bias_parts, accumulate);
    }
    const bool same = std::is_same_v<T, float>;  // cuDNN writes the product's own type
    void* target = same ? a.dweight.data : product;
    if (for_cudnn(a.dweight.shape) && pixels > 0 &&
        cudnn_conv_bwd_weight(s, conv_shape(a.x.dtype, a.x.shape, a.dy.shape, a.dweight.shape, a.stride, a.pad), a.x.data,
                              a.dy.data, target, same && accumulate)) {
      if (!same) sum_parts(s, static_cast<const device_t<T>*>(target), pointer<float>(a.dweight), n, 1, accumulate);
      return;
    }
    const Geometry g = geometry(a.x.shape, a.dy.shape, a.dweight.shape, a.stride, a.pad, false);
    const int parts = int(conv2d_weight_parts(pixels, n));
    if (outputs <= 4) direct_weight<device_t<T>, 4, 256, 4, 1>(s, pointer<T>(a.x), pointer<T>(a.dy), product, g, parts);
    else direct_weight<device_t<T>, 64, 64, 4, 4>(s, pointer<T>(a.x), pointer<T>(a.dy), product, g, parts);
    sum_parts(s, product, pointer<float>(a.dweight), n, parts, accumulate);
  });
}

}  // namespace mfl::cuda
