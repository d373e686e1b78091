// Gradient norm and the step's decision.
//   Map        one block a chunk of at most kChunk elements, a partial sum each; then one block adds the partial sums.
//   Bytes      4n.    Bound by   memory.
//   Numerics   four squares in f32, everything above them in f64; fixed order.    Deterministic: yes.
#include "kernels/common/launch.cuh"
#include "kernels/common/reduce_f64.cuh"
#include "kernels/optim/decide.h"

namespace mfl::cuda {
namespace {

constexpr int kThreads = 256, kFinalThreads = 1024;

__global__ void __launch_bounds__(kThreads)
    grad_squares_kernel(const float* __restrict__ gGrad, const std::int64_t* __restrict__ gChunks,
                        double* __restrict__ gPartial) {
  const std::int64_t* chunk = gChunks + std::int64_t(blockIdx.x) * 4;
  const float* grad = gGrad + chunk[0];
  const int count = int(chunk[1]);
  double sum = 0;
  int done = 0;
  if (reinterpret_cast<std::uintptr_t>(grad) % 16 == 0) {
    for (int i = threadIdx.x; i < count / 4; i += kThreads) {
      const float4 g = reinterpret_cast<const float4*>(grad)[i];
      sum += double(g.x * g.x + g.y * g.y + (g.z * g.z + g.w * g.w));
    }
    done = count / 4 * 4;
  }
  for (int i = done + threadIdx.x; i < count; i += kThreads) sum += double(grad[i] * grad[i]);
  sum = block_sum_f64<kThreads>(sum);
  if (threadIdx.x == 0) gPartial[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kFinalThreads)
    grad_norm_kernel(const double* __restrict__ gPartial, const std::int64_t* __restrict__ gChunks, std::int64_t chunks,
                     StepScalars* gScalars) {
  __shared__ unsigned long long sFirstBad;
  if (threadIdx.x == 0) sFirstBad = ~0ull;
  __syncthreads();
  double sum = 0;
  for (std::int64_t c = threadIdx.x; c < chunks; c += kFinalThreads) {
    const double part = gPartial[c];
    if (!isfinite(part))
      atomicMin(&sFirstBad, static_cast<unsigned long long>(c));  // of integers: any order gives the same
    sum += part;
  }
  sum = block_sum_f64<kFinalThreads>(sum);
  if (threadIdx.x == 0) {
    gScalars->norm = sqrt(sum);
    gScalars->bad_segment = sFirstBad == ~0ull ? -1 : gChunks[4 * sFirstBad + 2];
  }
}

__global__ void decide_update_kernel(StepScalars* gScalars, const float* gLoss, std::int64_t losses, double factor,
                                     double max_norm, double allowed_factor, double beta1, double beta2) {
  bool finite = true;
  for (std::int64_t i = 0; i < losses; ++i) finite = finite && isfinite(gLoss[i]);
  decide(*gScalars, finite, factor, max_norm, allowed_factor, beta1, beta2);
}

}  // namespace

void grad_norm(const Stream& s, const GradNorm& a) {
  if (a.grad.dtype != DType::f32)
    throw_error<DeviceError>("grad_norm: gradients of type ", a.grad.dtype, " are not supported on CUDA (f32 is)");
  const std::int64_t chunks = a.chunks.shape[0];
  const auto* table = static_cast<const std::int64_t*>(a.chunks.data);
  auto* partial = static_cast<double*>(a.partial.data);
  if (chunks > 0) {
    grad_squares_kernel<<<unsigned(chunks), kThreads, 0, native(s)>>>(pointer<float>(a.grad), table, partial);
    check_launch("grad_squares_kernel", s);
  }
  grad_norm_kernel<<<1, kFinalThreads, 0, native(s)>>>(partial, table, chunks,
                                                       static_cast<StepScalars*>(a.scalars.data));
  check_launch("grad_norm_kernel", s);
}

void decide_update(const Stream& s, const DecideUpdate& a) {
  if (a.loss && a.loss.dtype != DType::f32)
    throw_error<DeviceError>("decide_update: a loss of type ", a.loss.dtype, " is not supported on CUDA (f32 is)");
  decide_update_kernel<<<1, 1, 0, native(s)>>>(static_cast<StepScalars*>(a.scalars.data), pointer<float>(a.loss),
                                               a.loss ? a.loss.numel() : 0, a.factor, a.max_norm, a.allowed_factor,
                                               a.beta1, a.beta2);
  check_launch("decide_update_kernel", s);
}

}  // namespace mfl::cuda
