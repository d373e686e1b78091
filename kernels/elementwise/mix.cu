// Per-sample linear combination.
//   Map        one thread an element, grid-stride; the terms' types are tested at run time (uniform over the launch).
//   Bytes      4 (or 2) a term and element read, 4 (or 2) written.    Bound by   memory; latents are small.
//   Numerics   f32, terms in order.    Deterministic: yes.
#include "kernels/common/launch.cuh"
#include "kernels/elementwise/mix.h"

namespace mfl::cuda {
namespace {

constexpr int kThreads = 256;

struct Term {
  const void* data = nullptr;
  bool bf16 = false;
  __device__ float at(std::int64_t i) const {
    return bf16 ? to_float(static_cast<const __nv_bfloat16*>(data)[i]) : static_cast<const float*>(data)[i];
  }
};
struct Terms {
  Term x[kMixTerms];
};

// No __restrict__: y may be one of the terms; every element is read before it is written, by the same thread.
template <class O>
__global__ void __launch_bounds__(kThreads)
    mix_kernel(Terms terms, int count, const float* gWeights, int stride, O* gY, std::int64_t size, std::int64_t total) {
  const std::int64_t step = std::int64_t(gridDim.x) * kThreads;
  for (std::int64_t i = std::int64_t(blockIdx.x) * kThreads + threadIdx.x; i < total; i += step) {
    const float* weights = gWeights + i / size * stride;
    float sum = 0;
#pragma unroll
    for (int k = 0; k < kMixTerms; ++k)
      if (k < count && weights[k] != 0) sum = fmaf(weights[k], terms.x[k].at(i), sum);
    gY[i] = from_float<O>(sum);
  }
}

}  // namespace

void mix(const Stream& s, const Mix& a) {
  const std::int64_t total = a.y.numel();
  if (total == 0) return;
  const int count = int(a.weights.shape[1]);
  Terms terms;
  for (int k = 0; k < count; ++k) {
    const ConstView& x = a.x[std::size_t(k)];
    dispatch_gpu("mix", x.dtype, [](auto) {});
    terms.x[k] = {x.data, x.dtype == DType::bf16};
  }
  const std::int64_t blocks = ceil_div(total, std::int64_t{kThreads});
  dispatch_gpu("mix", a.y.dtype, [&](auto t) {
    using T = decltype(t);
    mix_kernel<<<unsigned(blocks < 4096 ? blocks : 4096), kThreads, 0, native(s)>>>(
        terms, count, pointer<float>(a.weights), a.weights.shape[0] == 1 ? 0 : count, pointer<T>(a.y),
        total / a.y.shape[0], total);
    check_launch("mix_kernel", s);
  });
}

}  // namespace mfl::cuda
