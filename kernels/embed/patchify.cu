// Patches of an image, and back.
//   Map        one thread an element, in the order of the patches.    Bound by   memory.    Deterministic: yes.
#include "kernels/common/launch.cuh"
#include "kernels/embed/camera_ray.h"
#include "kernels/embed/patchify.h"

namespace mfl::cuda {
namespace {

// kBack: from patches to the image. X is the type of what is read, Y of what is written.
template <bool kBack, class X, class Y>
__global__ void patchify_kernel(const X* __restrict__ gX, Y* __restrict__ gY, std::int64_t elements,
                                std::int64_t height, std::int64_t width, std::int64_t channels, int patch,
                                bool accumulate) {
  const std::int64_t e = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (e >= elements) return;
  const std::int64_t i = e / channels, pixels = height * width;
  const PixelXY at = pixel_of(i % pixels, width, patch);
  const std::int64_t in_image = ((i / pixels * height + at.y) * width + at.x) * channels + e % channels;
  const std::int64_t from = kBack ? e : in_image, to = kBack ? in_image : e;
  gY[to] = from_float<Y>(to_float(gX[from]) + (accumulate ? to_float(gY[to]) : 0.0f));
}

template <bool kBack>
void run(const char* op, const Stream& s, const Shape& image, int patch, const ConstView& x, const View& y,
         GradMode mode) {
  if (x.numel() == 0) return;
  dispatch_gpu(op, x.dtype, [&](auto from) {
    dispatch_gpu(op, y.dtype, [&](auto to) {
      patchify_kernel<kBack><<<unsigned(ceil_div(x.numel(), 256)), 256, 0, native(s)>>>(
          pointer<decltype(from)>(x), pointer<decltype(to)>(y), x.numel(), image[1], image[2], image[3], patch,
          mode == GradMode::accumulate);
      check_launch("patchify_kernel", s);
    });
  });
}

}  // namespace

void patchify(const Stream& s, const Patchify& a) {
  run<false>("patchify", s, a.image.shape, a.patch, a.image, a.patches, a.mode);
}
void unpatchify(const Stream& s, const Unpatchify& a) {
  run<true>("unpatchify", s, a.image.shape, a.patch, a.patches, a.image, a.mode);
}

}  // namespace mfl::cuda
