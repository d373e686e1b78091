// Clamp and its gradient.
//   Map        eight elements a thread (map.cuh).    Bound by   memory.    Deterministic: yes.
#include "kernels/common/map.cuh"
#include "kernels/loss/clamp.h"

namespace mfl::cuda {
namespace {

struct Clamp {
  float low, high;
  __device__ float operator()(float x, float, float) const { return x < low ? low : x > high ? high : x; }
};
struct ClampGradient {
  float low, high;
  __device__ float operator()(float x, float dy, float before) const {
    return before + (low <= x && x <= high ? dy : 0.0f);
  }
};

}  // namespace

void clamp_fwd(const Stream& s, const ClampFwd& a) {
  dispatch_gpu("clamp_fwd", a.x.dtype, [&](auto t) {
    using T = decltype(t);
    map<false>("clamp_fwd", s, pointer<T>(a.x), static_cast<const float*>(nullptr), pointer<T>(a.y), a.x.numel(),
               Clamp{float(a.low), float(a.high)});
  });
}

void clamp_bwd(const Stream& s, const ClampBwd& a) {
  dispatch_gpu("clamp_bwd", a.x.dtype, [&](auto t) {
    using T = decltype(t);
    const ClampGradient f{float(a.low), float(a.high)};
    if (a.dx_mode == GradMode::accumulate)
      map<true>("clamp_bwd", s, pointer<T>(a.x), pointer<T>(a.dy), pointer<T>(a.dx), a.x.numel(), f);
    else
      map<false>("clamp_bwd", s, pointer<T>(a.x), pointer<T>(a.dy), pointer<T>(a.dx), a.x.numel(), f);
  });
}

}  // namespace mfl::cuda
