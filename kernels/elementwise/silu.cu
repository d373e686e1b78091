// SiLU.
//   Map        eight elements a thread (map.cuh).    Bytes   forward 2n + 2n, backward 2n + 2n + 2n (bf16).
//   Bound by   memory.    Numerics   f32.    Deterministic: yes.
#include "kernels/common/map.cuh"
#include "kernels/elementwise/silu.h"

namespace mfl::cuda {
namespace {

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

struct Silu {
  __device__ float operator()(float x, float, float) const { return x * sigmoid(x); }
};
struct SiluGradient {
  __device__ float operator()(float x, float dy, float before) const {
    const float s = sigmoid(x);
    return before + dy * s * (1.0f + x * (1.0f - s));
  }
};

}  // namespace

void silu_fwd(const Stream& s, const SiluFwd& a) {
  dispatch_gpu("silu_fwd", a.x.dtype, [&](auto t) {
    using T = decltype(t);
    map<false>("silu_fwd", s, pointer<T>(a.x), pointer<T>(ConstView{}), pointer<T>(a.y), a.x.numel(), Silu{});
  });
}

void silu_bwd(const Stream& s, const SiluBwd& a) {
  dispatch_gpu("silu_bwd", a.x.dtype, [&](auto t) {
    using T = decltype(t);
    if (a.dx_mode == GradMode::accumulate)
      map<true>("silu_bwd", s, pointer<T>(a.x), pointer<T>(a.dy), pointer<T>(a.dx), a.x.numel(), SiluGradient{});
    else
      map<false>("silu_bwd", s, pointer<T>(a.x), pointer<T>(a.dy), pointer<T>(a.dx), a.x.numel(), SiluGradient{});
  });
}

}  // namespace mfl::cuda
