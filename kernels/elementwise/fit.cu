// Crop or zero-pad.
//   Map        one thread an element of y, grid-stride.    Bound by   memory.    Deterministic: yes.
#include "kernels/common/launch.cuh"
#include "kernels/elementwise/fit.h"

namespace mfl::cuda {
namespace {

constexpr int kThreads = 256;

struct Axes {
  std::int64_t n[4];
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    fit_kernel(const T* __restrict__ gX, Axes x, T* __restrict__ gY, Axes y, std::int64_t total) {
  const std::int64_t step = std::int64_t(gridDim.x) * kThreads;
  for (std::int64_t i = std::int64_t(blockIdx.x) * kThreads + threadIdx.x; i < total; i += step) {
    const std::int64_t d = i % y.n[3], c = i / y.n[3] % y.n[2], b = i / (y.n[3] * y.n[2]) % y.n[1],
                       a = i / (y.n[3] * y.n[2] * y.n[1]);
    const bool inside = a < x.n[0] && b < x.n[1] && c < x.n[2] && d < x.n[3];
    gY[i] = inside ? gX[((a * x.n[1] + b) * x.n[2] + c) * x.n[3] + d] : from_float<T>(0.0f);
  }
}

// Four axes, the missing ones of one element in front.
Axes axes_of(const Shape& shape) {
  Axes axes{{1, 1, 1, 1}};
  for (int i = 0; i < shape.rank(); ++i) axes.n[4 - shape.rank() + i] = shape[i];
  return axes;
}

}  // namespace

void fit(const Stream& s, const Fit& a) {
  const std::int64_t total = a.y.numel();
  if (total == 0) return;
  const std::int64_t blocks = ceil_div(total, std::int64_t{kThreads});
  dispatch_gpu("fit", a.x.dtype, [&](auto t) {
    using T = decltype(t);
    fit_kernel<<<unsigned(blocks < 65536 ? blocks : 65536), kThreads, 0, native(s)>>>(
        pointer<T>(a.x), axes_of(a.x.shape), pointer<T>(a.y), axes_of(a.y.shape), total);
    check_launch("fit_kernel", s);
  });
}

}  // namespace mfl::cuda
