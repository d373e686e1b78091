// Cast, add, scale, fill.
//   Map        eight elements a thread (map.cuh).    Bound by   memory.    Numerics   f32.    Deterministic: yes.
#include "kernels/common/map.cuh"
#include "kernels/elementwise/cast.h"

namespace mfl::cuda {
namespace {

struct Same {
  __device__ float operator()(float x, float, float) const { return x; }
};
struct AddScaled {
  float factor;
  __device__ float operator()(float x, float, float before) const { return fmaf(factor, x, before); }
};
struct Times {
  float factor;
  __device__ float operator()(float, float, float before) const { return factor * before; }
};
struct Constant {
  float value;
  __device__ float operator()(float, float, float) const { return value; }
};

template <class F>
void dispatch_pair(const char* op, DType x, DType y, F&& f) {
  dispatch_gpu(op, x, [&](auto from) { dispatch_gpu(op, y, [&](auto to) { f(from, to); }); });
}

}  // namespace

void cast(const Stream& s, const Cast& a) {
  dispatch_pair("cast", a.x.dtype, a.y.dtype, [&](auto x, auto y) {
    map<false>("cast", s, pointer<decltype(x)>(a.x), static_cast<const float*>(nullptr), pointer<decltype(y)>(a.y),
               a.x.numel(), Same{});
  });
}

void add_(const Stream& s, const Add& a) {
  dispatch_pair("add_", a.x.dtype, a.y.dtype, [&](auto x, auto y) {
    map<true>("add_", s, pointer<decltype(x)>(a.x), static_cast<const float*>(nullptr), pointer<decltype(y)>(a.y),
              a.x.numel(), AddScaled{float(a.factor)});
  });
}

void scale_(const Stream& s, const Scale& a) {
  dispatch_gpu("scale_", a.x.dtype, [&](auto t) {
    const float* none = nullptr;
    map<true>("scale_", s, none, none, pointer<decltype(t)>(a.x), a.x.numel(), Times{float(a.factor)});
  });
}

void fill_(const Stream& s, const Fill& a) {
  dispatch_gpu("fill_", a.x.dtype, [&](auto t) {
    const float* none = nullptr;
    map<false>("fill_", s, none, none, pointer<decltype(t)>(a.x), a.x.numel(), Constant{float(a.value)});
  });
}

}  // namespace mfl::cuda
