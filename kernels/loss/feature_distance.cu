// The LPIPS head.
//   Map        one warp a pixel. C = 64, 128, 256, 512: the pixel's channels of both sides stay in registers, in packs of up
//              to 16 bytes; any other C reads them a second time. Forward: grid-stride, each block leaves a partial sum.
//   Bytes      forward 2 sizeof(T) RC, backward 3 sizeof(T) RC.
//   Bound by   memory.    Numerics   f32.    Deterministic: yes.
#include "kernels/common/map.cuh"
#include "kernels/loss/feature_distance.h"
#include "kernels/loss/sum_parts.cuh"

namespace mfl::cuda {
namespace {

constexpr int kWarps = 8;
constexpr float kEps = float(kFeatureNormEps);

// The channels of one pixel that a lane holds: kPer of them, or (kPer = 0) every 32nd, read when asked for.
template <class T, int kPer>
struct Lane {
  static constexpr int kPack = kPer < 16 / int(sizeof(T)) ? kPer : 16 / int(sizeof(T));
  float v[kPer];
  __device__ Lane(const T* row, int lane, int) {
#pragma unroll
    for (int j = 0; j < kPer; j += kPack) {
      const auto pack = *reinterpret_cast<const Pack<T, kPack>*>(row + j * 32 + lane * kPack);
#pragma unroll
      for (int k = 0; k < kPack; ++k) v[j + k] = to_float(pack.v[k]);
    }
  }
  __device__ static int count(int, int) { return kPer; }
  __device__ static int channel(int i, int lane) { return i / kPack * kPack * 32 + lane * kPack + i % kPack; }
  __device__ float operator[](int i) const { return v[i]; }
};
template <class T>
struct Lane<T, 0> {
  const T* row;
  int lane;
  __device__ Lane(const T* r, int l, int) : row(r), lane(l) {}
  __device__ static int count(int lane, int channels) { return lane < channels ? (channels - lane + 31) / 32 : 0; }
  __device__ static int channel(int i, int lane) { return i * 32 + lane; }
  __device__ float operator[](int i) const { return to_float(row[i * 32 + lane]); }
};

template <class L>
__device__ float length(const L& x, int count) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < count; ++i) sum += x[i] * x[i];
  return sqrtf(warp_sum(sum));
}

template <class T, int kPer>
__global__ void feature_distance_partial_kernel(const T* __restrict__ gA, const T* __restrict__ gB,
                                                const float* __restrict__ gHead, std::int64_t rows, int channels,
                                                float* __restrict__ gParts) {
  using L = Lane<T, kPer>;
  const int lane = threadIdx.x % 32, count = L::count(lane, channels);
  float total = 0;
  for (std::int64_t r = std::int64_t(blockIdx.x) * kWarps + threadIdx.x / 32; r < rows; r += std::int64_t(gridDim.x) * kWarps) {
    const L a(gA + r * channels, lane, channels), b(gB + r * channels, lane, channels);
    const float ia = 1 / (length(a, count) + kEps), ib = 1 / (length(b, count) + kEps);
#pragma unroll
    for (int i = 0; i < count; ++i) {
      const float d = a[i] * ia - b[i] * ib;
      total += gHead[L::channel(i, lane)] * d * d;
    }
  }
  total = block_sum<kWarps * 32>(total);
  if (threadIdx.x == 0) gParts[blockIdx.x] = total;
}

template <class T, int kPer>
__global__ void feature_distance_bwd_kernel(const T* __restrict__ gA, const T* __restrict__ gB,
                                            const float* __restrict__ gHead, std::int64_t rows, int channels, float factor,
                                            T* gDa, bool accumulate) {
  using L = Lane<T, kPer>;
  const int lane = threadIdx.x % 32, count = L::count(lane, channels);
  const std::int64_t r = std::int64_t(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (r >= rows) return;
  const L a(gA + r * channels, lane, channels), b(gB + r * channels, lane, channels);
  const float la = length(a, count), ia = 1 / (la + kEps), ib = 1 / (length(b, count) + kEps);
  const float along = la > 0 ? 1 / la : 0.0f;
  float ga = 0;   // g . ahat
#pragma unroll
  for (int i = 0; i < count; ++i) ga += gHead[L::channel(i, lane)] * (a[i] * ia - b[i] * ib) * (a[i] * ia);
  ga = warp_sum(ga);
#pragma unroll
  for (int i = 0; i < count; ++i) {
    T* slot = gDa + r * channels + L::channel(i, lane);
    const float g = gHead[L::channel(i, lane)] * (a[i] * ia - b[i] * ib);
    const float d = factor * ia * (g - a[i] * along * ga);
    *slot = from_float<T>((accumulate ? to_float(*slot) : 0.0f) + d);
  }
}

// f(T{}, kPer as a type) for this number of channels.
template <class F>
void dispatch_channels(const char* op, DType t, std::int64_t channels, bool aligned, F&& f) {
  dispatch_gpu(op, t, [&](auto type) {
    if (aligned && channels == 64) return f(type, std::integral_constant<int, 2>{});
    if (aligned && channels == 128) return f(type, std::integral_constant<int, 4>{});
    if (aligned && channels == 256) return f(type, std::integral_constant<int, 8>{});
    if (aligned && channels == 512) return f(type, std::integral_constant<int, 16>{});
    f(type, std::integral_constant<int, 0>{});
  });
}

}  // namespace

void feature_distance_fwd(const Stream& s, const FeatureDistanceFwd& a) {
  const std::int64_t rows = a.a.shape.rows(), channels = a.a.shape[-1], parts = feature_distance_scratch(rows);
  dispatch_channels("feature_distance_fwd", a.a.dtype, channels, aligned16(a.a.data) && aligned16(a.b.data),
                    [&](auto t, auto per) {
    using T = decltype(t);
    feature_distance_partial_kernel<device_t<T>, decltype(per)::value><<<unsigned(parts), kWarps * 32, 0, native(s)>>>(
        pointer<T>(a.a), pointer<T>(a.b), pointer<float>(a.head), rows, int(channels), pointer<float>(a.scratch));
    check_launch("feature_distance_partial_kernel", s);
  });
  sum_parts(s, pointer<float>(a.scratch), parts, a.scale, pointer<float>(a.loss), a.loss_mode == GradMode::accumulate);
}

void feature_distance_bwd(const Stream& s, const FeatureDistanceBwd& a) {
  const std::int64_t rows = a.a.shape.rows(), channels = a.a.shape[-1];
  if (rows == 0) return;
  dispatch_channels("feature_distance_bwd", a.a.dtype, channels, aligned16(a.a.data) && aligned16(a.b.data),
                    [&](auto t, auto per) {
    using T = decltype(t);
    feature_distance_bwd_kernel<device_t<T>, decltype(per)::value>
        <<<unsigned(ceil_div(rows, kWarps)), kWarps * 32, 0, native(s)>>>(
            pointer<T>(a.a), pointer<T>(a.b), pointer<float>(a.head), rows, int(channels),
            float(2 * a.scale * a.weight), pointer<T>(a.da), a.da_mode == GradMode::accumulate);
    check_launch("feature_distance_bwd_kernel", s);
  });
}

}  // namespace mfl::cuda
