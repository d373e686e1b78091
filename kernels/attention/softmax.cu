// Softmax of rows.
//   Map        one block a row; a row is read three times (maximum, sum, result), from L2 after the first: 4096 columns are
//              16 KiB.
//   Bound by   memory.    Numerics   f32.    Deterministic: yes.
#include "kernels/attention/softmax.h"
#include "kernels/common/launch.cuh"

namespace mfl::cuda {
namespace {

constexpr int kThreads = 256;

template <int kCount>
__device__ float block_max(float x) {
  __shared__ float partial[kCount / 32];
  x = warp_max(x);
  __syncthreads();
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
  __syncthreads();
  float top = partial[0];
#pragma unroll
  for (int i = 1; i < kCount / 32; ++i) top = fmaxf(top, partial[i]);
  return top;
}

// y may be x: every element is read by the thread that writes it, and the sums end with barriers before any write.
template <class X, class Y>
__global__ void __launch_bounds__(kThreads) softmax_kernel(const X* gX, float scale, Y* gY, std::int64_t columns) {
  const X* x = gX + std::int64_t(blockIdx.x) * columns;
  Y* y = gY + std::int64_t(blockIdx.x) * columns;
  float top = -INFINITY;
  for (std::int64_t c = threadIdx.x; c < columns; c += kThreads) top = fmaxf(top, scale * to_float(x[c]));
  top = block_max<kThreads>(top);
  float sum = 0;
  for (std::int64_t c = threadIdx.x; c < columns; c += kThreads) sum += expf(scale * to_float(x[c]) - top);
  sum = block_sum<kThreads>(sum);
  const float factor = 1 / sum;
  for (std::int64_t c = threadIdx.x; c < columns; c += kThreads)
    y[c] = from_float<Y>(expf(scale * to_float(x[c]) - top) * factor);
}

}  // namespace

void softmax_fwd(const Stream& s, const SoftmaxFwd& a) {
  const std::int64_t rows = a.x.shape.rows(), columns = a.x.shape[-1];
  if (rows == 0) return;
  dispatch_gpu("softmax_fwd", a.x.dtype, [&](auto from) {
    dispatch_gpu("softmax_fwd", a.y.dtype, [&](auto to) {
      using X = decltype(from);
      using Y = decltype(to);
      softmax_kernel<<<unsigned(rows), kThreads, 0, native(s)>>>(pointer<X>(a.x), float(a.scale), pointer<Y>(a.y), columns);
      check_launch("softmax_kernel", s);
    });
  });
}

}  // namespace mfl::cuda
