// AdamW.
//   Map        one block a chunk of at most kChunk elements, four elements a thread and access.
//   Bytes      16n read, 12n + 2n written (bf16 copy).    Bound by   memory.
//   Numerics   f32, the order of operations of PyTorch's fused kernel.    Deterministic: yes.
#include <algorithm>

#include "kernels/common/launch.cuh"
#include "kernels/common/pack.cuh"
#include "kernels/optim/adamw.h"

namespace mfl::cuda {
namespace {

constexpr int kThreads = 256;

struct Constants {
  double beta1, beta2, eps;
  AdamWGroup groups[kAdamWGroups];
};

struct Rule {
  float grad_scale, keep, one_minus_beta1, beta2, one_minus_beta2, step_size, bias2_root, eps;
  __device__ void operator()(float& p, float g, float& m, float& v) const {
    g *= grad_scale;
    p *= keep;
    m += one_minus_beta1 * (g - m);
    v = beta2 * v + one_minus_beta2 * g * g;
    p -= step_size * m / (sqrtf(v) / bias2_root + eps);
  }
};

// C: type of the compute copy.
template <class C>
__global__ void __launch_bounds__(kThreads)
    adamw_kernel(float* gValue, const float* __restrict__ gGrad, float* __restrict__ gM, float* __restrict__ gV,
                 C* gCompute, const std::int64_t* __restrict__ gChunks, const StepScalars* __restrict__ gScalars,
                 Constants c, bool packed) {
  if (!gScalars->apply) return;
  const std::int64_t* chunk = gChunks + std::int64_t(blockIdx.x) * 4;
  const std::int64_t first = chunk[0];
  const int count = int(chunk[1]);
  const AdamWGroup group = c.groups[chunk[3]];
  const double lr = gScalars->learning_rate * group.learning_rate_factor;
  const Rule rule{float(gScalars->grad_scale),  float(1 - lr * group.weight_decay),
                  float(1 - c.beta1),           float(c.beta2),
                  float(1 - c.beta2),           float(lr / gScalars->bias1),
                  float(sqrt(gScalars->bias2)), float(c.eps)};
  int done = 0;
  if (packed && first % 4 == 0) {
    for (int i = threadIdx.x; i < count / 4; i += kThreads) {
      const std::int64_t at = first + 4 * std::int64_t(i);
      auto p = *reinterpret_cast<const Pack<float, 4>*>(gValue + at);
      const auto g = *reinterpret_cast<const Pack<float, 4>*>(gGrad + at);
      auto m = *reinterpret_cast<const Pack<float, 4>*>(gM + at);
      auto v = *reinterpret_cast<const Pack<float, 4>*>(gV + at);
      Pack<C, 4> copy;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        rule(p.v[j], g.v[j], m.v[j], v.v[j]);
        copy.v[j] = from_float<C>(p.v[j]);
      }
      *reinterpret_cast<Pack<float, 4>*>(gValue + at) = p;
      *reinterpret_cast<Pack<float, 4>*>(gM + at) = m;
      *reinterpret_cast<Pack<float, 4>*>(gV + at) = v;
      if (gCompute) *reinterpret_cast<Pack<C, 4>*>(gCompute + at) = copy;
    }
    done = count / 4 * 4;
  }
  for (int i = done + threadIdx.x; i < count; i += kThreads) {
    const std::int64_t at = first + i;
    float p = gValue[at], m = gM[at], v = gV[at];
    rule(p, gGrad[at], m, v);
    gValue[at] = p, gM[at] = m, gV[at] = v;
    if (gCompute) gCompute[at] = from_float<C>(p);
  }
}

}  // namespace

void adamw(const Stream& s, const AdamW& a) {
  if (a.value.dtype != DType::f32)
    throw_error<DeviceError>("adamw: masters of type ", a.value.dtype, " are not supported on CUDA (f32 is)");
  const std::int64_t chunks = a.chunks.shape[0];
  if (chunks == 0) return;
  Constants constants{a.beta1, a.beta2, a.eps, {}};
  std::copy(a.groups.begin(), a.groups.end(), constants.groups);
  const bool packed = aligned16(a.value.data) && aligned16(a.grad.data) && aligned16(a.exp_avg.data) &&
                      aligned16(a.exp_avg_sq.data) && aligned16(a.compute.data);
  dispatch_gpu("adamw", a.compute ? a.compute.dtype : DType::f32, [&](auto t) {
    adamw_kernel<<<unsigned(chunks), kThreads, 0, native(s)>>>(
        pointer<float>(a.value), pointer<float>(a.grad), pointer<float>(a.exp_avg), pointer<float>(a.exp_avg_sq),
        pointer<decltype(t)>(a.compute), static_cast<const std::int64_t*>(a.chunks.data),
        static_cast<const StepScalars*>(a.scalars.data), constants, packed);
    check_launch("adamw_kernel", s);
  });
}

}  // namespace mfl::cuda
