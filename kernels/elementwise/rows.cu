// Row vectors: small beside everything else in a step (the embeddings of a model), so plain kernels.
//   Map        one thread an element; sum_rows: one thread a column, rows in order.
//   Bound by   memory.    Deterministic: yes.
#include "kernels/common/launch.cuh"
#include "kernels/elementwise/rows.h"

namespace mfl::cuda {
namespace {

template <class T>
__global__ void add_row_vector_kernel(T* __restrict__ gX, const T* __restrict__ gV, std::int64_t n, std::int64_t channels) {
  const std::int64_t i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) gX[i] = from_float<T>(to_float(gX[i]) + to_float(gV[i % channels]));
}

template <class T>
__global__ void sum_rows_kernel(const T* __restrict__ gX, T* __restrict__ gSum, std::int64_t rows, std::int64_t channels,
                                bool accumulate) {
  const std::int64_t c = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= channels) return;
  float total = 0;
  for (std::int64_t r = 0; r < rows; ++r) total += to_float(gX[r * channels + c]);
  gSum[c] = from_float<T>(total + (accumulate ? to_float(gSum[c]) : 0.0f));
}

template <class T>
__global__ void accumulate_kernel(const T* __restrict__ gX, T* __restrict__ gY, std::int64_t n) {
  const std::int64_t i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) gY[i] = from_float<T>(to_float(gY[i]) + to_float(gX[i]));
}

constexpr int kThreads = 256;
unsigned blocks_for(std::int64_t n) { return unsigned(ceil_div(n, std::int64_t{kThreads})); }

}  // namespace

void add_row_vector(const Stream& s, const AddRowVector& a) {
  const std::int64_t n = a.x.numel();
  if (n == 0) return;
  dispatch_gpu("add_row_vector", a.x.dtype, [&](auto t) {
    using T = decltype(t);
    add_row_vector_kernel<<<blocks_for(n), kThreads, 0, native(s)>>>(pointer<T>(a.x), pointer<T>(a.v), n, a.x.shape[1]);
    check_launch("add_row_vector_kernel", s);
  });
}

void sum_rows(const Stream& s, const SumRows& a) {
  dispatch_gpu("sum_rows", a.x.dtype, [&](auto t) {
    using T = decltype(t);
    sum_rows_kernel<<<blocks_for(a.x.shape[1]), kThreads, 0, native(s)>>>(
        pointer<T>(a.x), pointer<T>(a.sum), a.x.shape[0], a.x.shape[1], a.mode == GradMode::accumulate);
    check_launch("sum_rows_kernel", s);
  });
}

void accumulate(const Stream& s, const Accumulate& a) {
  const std::int64_t n = a.y.numel();
  if (n == 0) return;
  dispatch_gpu("accumulate", a.x.dtype, [&](auto t) {
    using T = decltype(t);
    accumulate_kernel<<<blocks_for(n), kThreads, 0, native(s)>>>(pointer<T>(a.x), pointer<T>(a.y), n);
    check_launch("accumulate_kernel", s);
  });
}

}  // namespace mfl::cuda
