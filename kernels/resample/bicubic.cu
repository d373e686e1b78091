// Antialiased bicubic resize.
//   Map        one thread an element of a pass's output; each computes the weights of its window (10 taps from 512 to 224).
//   FLOPs      about 500 in f64 an element and pass: 0.3 GFLOP an image.    Bound by   f64 arithmetic; once an image.
//   Numerics   weights in f64, sums of floats in f32, of bytes in integers. Compiled with --fmad=false, so that 22-bit
//              weights round as on the host.    Deterministic: yes.
#include <type_traits>

#include "kernels/common/launch.cuh"
#include "kernels/resample/bicubic.h"
#include "kernels/resample/bicubic_math.h"

namespace mfl::cuda {
namespace {

constexpr int kThreads = 256;

// x [outer, from, inner] to y [outer, to, inner].
template <class X, class Y>
__global__ void __launch_bounds__(kThreads)
    bicubic_pass_kernel(const X* __restrict__ gX, Y* __restrict__ gY, std::int64_t total, std::int64_t from,
                        std::int64_t to, std::int64_t inner) {
  const std::int64_t at = std::int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= total) return;
  const std::int64_t i = at % inner, t = at / inner % to, o = at / (inner * to);
  const BicubicWindow window = bicubic_window(t, from, to);
  const X* taps = gX + (o * from + window.first) * inner + i;
  if constexpr (std::is_same_v<X, std::uint8_t>) {
    std::int32_t sum = 1 << 21;
    for (std::int64_t k = 0; k < window.count; ++k) sum += window.fixed(k) * std::int32_t(taps[k * inner]);
    const std::uint8_t byte = clip8(sum);
    if constexpr (std::is_same_v<Y, float>)
      gY[at] = float(byte * (1 / 255.0));
    else
      gY[at] = byte;
  } else {
    float sum = 0;
    for (std::int64_t k = 0; k < window.count; ++k) sum += float(window.weight(k)) * taps[k * inner];
    gY[at] = sum;
  }
}

template <class X, class Y>
void pass(const Stream& s, const X* x, Y* y, std::int64_t outer, std::int64_t from, std::int64_t to, std::int64_t inner) {
  const std::int64_t total = outer * to * inner;
  bicubic_pass_kernel<<<unsigned(ceil_div(total, std::int64_t{kThreads})), kThreads, 0, native(s)>>>(x, y, total, from, to,
                                                                                                  inner);
  check_launch("bicubic_pass_kernel", s);
}

template <class X, class Y>
void run(const Stream& s, const ResizeBicubic& a) {
  const Shape &x = a.x.shape, &y = a.y.shape;
  X* rows = static_cast<X*>(a.rows.data);
  pass(s, static_cast<const X*>(a.x.data), rows, x[0] * x[1], x[2], y[2], x[3]);
  pass(s, static_cast<const X*>(rows), static_cast<Y*>(a.y.data), x[0], x[1], y[1], y[2] * x[3]);
}

}  // namespace

void resize_bicubic(const Stream& s, const ResizeBicubic& a) {
  if (a.x.dtype == DType::u8) return run<std::uint8_t, float>(s, a);
  if (a.x.dtype == DType::f32) return run<float, float>(s, a);
  throw_error<DeviceError>("resize_bicubic: ", a.x.dtype, " is not supported on CUDA (f32 and u8 are)");
}

}  // namespace mfl::cuda
