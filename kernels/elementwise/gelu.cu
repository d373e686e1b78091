// Exact GELU.
//   Map        eight elements a thread (map.cuh).    Bytes   forward 2n + 2n, backward 2n + 2n + 2n (bf16).
//   Bound by   memory; erff is some 25 instructions.    Numerics   f32.    Deterministic: yes.
#include "kernels/common/map.cuh"
#include "kernels/elementwise/gelu.h"

namespace mfl::cuda {
namespace {

__device__ inline float normal_cdf(float x) { return 0.5f * (1.0f + erff(x * 0.70710678f)); }

struct Gelu {
  __device__ float operator()(float x, float, float) const { return x * normal_cdf(x); }
};
struct GeluGradient {
  __device__ float operator()(float x, float dy, float before) const {
    return before + dy * (normal_cdf(x) + x * 0.39894228f * expf(-0.5f * x * x));
  }
};

}  // namespace

void gelu_fwd(const Stream& s, const GeluFwd& a) {
  dispatch_gpu("gelu_fwd", a.x.dtype, [&](auto t) {
    using T = decltype(t);
    map<false>("gelu_fwd", s, pointer<T>(a.x), pointer<T>(ConstView{}), pointer<T>(a.y), a.x.numel(), Gelu{});
  });
}

void gelu_bwd(const Stream& s, const GeluBwd& a) {
  dispatch_gpu("gelu_bwd", a.x.dtype, [&](auto t) {
    using T = decltype(t);
    if (a.dx_mode == GradMode::accumulate)
      map<true>("gelu_bwd", s, pointer<T>(a.x), pointer<T>(a.dy), pointer<T>(a.dx), a.x.numel(), GeluGradient{});
    else
      map<false>("gelu_bwd", s, pointer<T>(a.x), pointer<T>(a.dy), pointer<T>(a.dx), a.x.numel(), GeluGradient{});
  });
}

}  // namespace mfl::cuda
