// 2x2 pooling.
//   Map        one thread a window and 16 bytes of channels (one channel where C or the addresses do not allow it). The
//              backward's grid covers incomplete windows too, whose elements get no gradient.
//   Bytes      forward 1.25 sizeof(T) NHWC; backward 1.25 (average) or 2.25 (maximum), and 1 more to accumulate.
//   Bound by   memory.    Numerics   f32.    Deterministic: yes.
#include "kernels/common/map.cuh"
#include "kernels/conv/pool.h"

namespace mfl::cuda {
namespace {

struct Extent {
  std::int64_t images;
  int height, width, packs;   // of x; channels in packs
};

template <class T, int kPack>
__device__ Pack<T, kPack> load(const T* p, std::int64_t index) {
  return reinterpret_cast<const Pack<T, kPack>*>(p)[index];
}

__device__ inline int first_maximum(const float (&v)[4]) {
  int best = 0;
#pragma unroll
  for (int k = 1; k < 4; ++k)
    if (v[k] > v[best]) best = k;
  return best;
}

template <class T, int kPack>
__global__ void pool2x2_fwd_kernel(const T* __restrict__ gX, T* __restrict__ gY, Extent e, bool maximum) {
  const int rows = e.height / 2, columns = e.width / 2;
  const std::int64_t i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= e.images * rows * columns * e.packs) return;
  const std::int64_t c = i % e.packs, w = i / e.packs % columns, h = i / e.packs / columns % rows, n = i / e.packs / columns / rows;
  const std::int64_t corner = ((n * e.height + 2 * h) * e.width + 2 * w) * e.packs + c, row = std::int64_t(e.width) * e.packs;
  const Pack<T, kPack> x[4] = {load<T, kPack>(gX, corner), load<T, kPack>(gX, corner + e.packs),
                               load<T, kPack>(gX, corner + row), load<T, kPack>(gX, corner + row + e.packs)};
  Pack<T, kPack> y;
#pragma unroll
  for (int j = 0; j < kPack; ++j) {
    const float v[4] = {to_float(x[0].v[j]), to_float(x[1].v[j]), to_float(x[2].v[j]), to_float(x[3].v[j])};
    float out = (v[0] + v[1] + v[2] + v[3]) * 0.25f;
    if (maximum) {
      out = v[0];
#pragma unroll
      for (int k = 1; k < 4; ++k) out = v[k] > out ? v[k] : out;
    }
    y.v[j] = from_float<T>(out);
  }
  reinterpret_cast<Pack<T, kPack>*>(gY)[i] = y;
}

template <class T, int kPack>
__global__ void pool2x2_bwd_kernel(const T* __restrict__ gX, const T* __restrict__ gDy, T* __restrict__ gDx, Extent e,
                                   bool maximum, bool accumulate) {
  const int rows = (e.height + 1) / 2, columns = (e.width + 1) / 2;
  const std::int64_t i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= e.images * rows * columns * e.packs) return;
  const std::int64_t c = i % e.packs, w = i / e.packs % columns, h = i / e.packs / columns % rows, n = i / e.packs / columns / rows;
  const bool complete = 2 * h + 1 < e.height && 2 * w + 1 < e.width;
  const std::int64_t corner = ((n * e.height + 2 * h) * e.width + 2 * w) * e.packs + c, row = std::int64_t(e.width) * e.packs;
  const std::int64_t at[4] = {corner, corner + e.packs, corner + row, corner + row + e.packs};
  Pack<T, kPack> dy{}, x[4] = {};
  if (complete) {
    dy = load<T, kPack>(gDy, ((n * (e.height / 2) + h) * (e.width / 2) + w) * e.packs + c);
    if (maximum) {
#pragma unroll
      for (int k = 0; k < 4; ++k) x[k] = load<T, kPack>(gX, at[k]);
    }
  }
  float gradient[4][kPack];
#pragma unroll
  for (int j = 0; j < kPack; ++j) {
    const float v[4] = {to_float(x[0].v[j]), to_float(x[1].v[j]), to_float(x[2].v[j]), to_float(x[3].v[j])};
    const int best = first_maximum(v);
    const float d = complete ? to_float(dy.v[j]) : 0.0f;
#pragma unroll
    for (int k = 0; k < 4; ++k) gradient[k][j] = maximum ? (k == best ? d : 0.0f) : 0.25f * d;
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    if (2 * h + k / 2 >= e.height || 2 * w + k % 2 >= e.width) continue;
    Pack<T, kPack> out{};
    if (accumulate) out = load<T, kPack>(gDx, at[k]);
#pragma unroll
    for (int j = 0; j < kPack; ++j) out.v[j] = from_float<T>((accumulate ? to_float(out.v[j]) : 0.0f) + gradient[k][j]);
    reinterpret_cast<Pack<T, kPack>*>(gDx)[at[k]] = out;
  }
}

// f(T{}, elements in a pack as a type).
template <class F>
void dispatch_pack(const char* op, DType t, std::int64_t channels, bool aligned, F&& f) {
  dispatch_gpu(op, t, [&](auto type) {
    constexpr int kFull = 16 / int(sizeof(type));
    if (aligned && channels % kFull == 0) return f(type, std::integral_constant<int, kFull>{});
    f(type, std::integral_constant<int, 1>{});
  });
}

}  // namespace

void pool2x2_fwd(const Stream& s, const Pool2x2Fwd& a) {
  if (a.y.numel() == 0) return;
  const Shape& x = a.x.shape;
  dispatch_pack("pool2x2_fwd", a.x.dtype, x[3], aligned16(a.x.data) && aligned16(a.y.data), [&](auto t, auto pack) {
    using T = decltype(t);
    constexpr int kPack = decltype(pack)::value;
    const Extent e{x[0], int(x[1]), int(x[2]), int(x[3] / kPack)};
    const std::int64_t threads = a.y.numel() / kPack;
    pool2x2_fwd_kernel<device_t<T>, kPack><<<unsigned(ceil_div(threads, 256)), 256, 0, native(s)>>>(
        pointer<T>(a.x), pointer<T>(a.y), e, a.kind == Pool::max);
    check_launch("pool2x2_fwd_kernel", s);
  });
}

void pool2x2_bwd(const Stream& s, const Pool2x2Bwd& a) {
  if (a.dx.numel() == 0) return;
  const Shape& x = a.dx.shape;
  dispatch_pack("pool2x2_bwd", a.dx.dtype, x[3], aligned16(a.x.data) && aligned16(a.dy.data) && aligned16(a.dx.data),
                [&](auto t, auto pack) {
    using T = decltype(t);
    constexpr int kPack = decltype(pack)::value;
    const Extent e{x[0], int(x[1]), int(x[2]), int(x[3] / kPack)};
    const std::int64_t threads = x[0] * ((x[1] + 1) / 2) * ((x[2] + 1) / 2) * (x[3] / kPack);
    pool2x2_bwd_kernel<device_t<T>, kPack><<<unsigned(ceil_div(threads, 256)), 256, 0, native(s)>>>(
        pointer<T>(a.x), pointer<T>(a.dy), pointer<T>(a.dx), e, a.kind == Pool::max, a.dx_mode == GradMode::accumulate);
    check_launch("pool2x2_bwd_kernel", s);
  });
}

}  // namespace mfl::cuda
