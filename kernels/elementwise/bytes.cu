// Reals to bytes and back.
//   Map        one thread an element.    Bytes   4n read, n written, and the reverse.    Bound by   memory.    Deterministic: yes.
#include "kernels/common/launch.cuh"
#include "kernels/elementwise/bytes.h"

namespace mfl::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    to_bytes_kernel(const float* __restrict__ gX, std::uint8_t* __restrict__ gY, std::int64_t n, bool round) {
  const std::int64_t i = std::int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= n) return;
  // Not a number gives 0.
  const float x = gX[i], v = x > 0 ? fminf(x, 1.0f) * 255.0f : 0.0f;
  gY[i] = static_cast<std::uint8_t>(round ? rintf(v) : v);
}

__global__ void __launch_bounds__(kThreads)
    from_bytes_kernel(const std::uint8_t* __restrict__ gX, float* __restrict__ gY, std::int64_t n) {
  const std::int64_t i = std::int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i < n) gY[i] = __fdiv_rn(float(gX[i]), 255.0f);
}

void only_f32(const char* op, DType t) {
  if (t != DType::f32) throw_error<DeviceError>(op, ": ", t, " is not supported on CUDA (f32 is)");
}

}  // namespace

void to_bytes(const Stream& s, const ToBytes& a) {
  only_f32("to_bytes", a.x.dtype);
  const std::int64_t n = a.x.numel();
  if (n == 0) return;
  to_bytes_kernel<<<unsigned(ceil_div(n, std::int64_t{kThreads})), kThreads, 0, native(s)>>>(
      pointer<float>(a.x), static_cast<std::uint8_t*>(a.y.data), n, a.round);
  check_launch("to_bytes_kernel", s);
}

void from_bytes(const Stream& s, const FromBytes& a) {
  only_f32("from_bytes", a.y.dtype);
  const std::int64_t n = a.x.numel();
  if (n == 0) return;
  from_bytes_kernel<<<unsigned(ceil_div(n, std::int64_t{kThreads})), kThreads, 0, native(s)>>>(
      static_cast<const std::uint8_t*>(a.x.data), pointer<float>(a.y), n);
  check_launch("from_bytes_kernel", s);
}

}  // namespace mfl::cuda
