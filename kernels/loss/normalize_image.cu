// The affine map in front of a perceptual network.
//   Map        one thread a pixel.    Bound by   memory.    Numerics   f32.    Deterministic: yes.
#include "kernels/common/launch.cuh"
#include "kernels/loss/normalize_image.h"

namespace mfl::cuda {
namespace {

struct Affine {
  float scale[3], offset[3];
};

template <class Y>
__global__ void normalize_image_fwd_kernel(const float* __restrict__ gImage, int channels, Affine f, Y* __restrict__ gY,
                                           std::int64_t pixels) {
  const std::int64_t p = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (p >= pixels) return;
#pragma unroll
  for (int c = 0; c < 3; ++c) gY[p * 3 + c] = from_float<Y>(fmaf(gImage[p * channels + c], f.scale[c], f.offset[c]));
}

template <class Y>
__global__ void normalize_image_bwd_kernel(const Y* __restrict__ gDy, Affine f, float* __restrict__ gDimage,
                                           std::int64_t pixels, bool accumulate) {
  const std::int64_t p = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (p >= pixels) return;
#pragma unroll
  for (int c = 0; c < 3; ++c)
    gDimage[p * 3 + c] = (accumulate ? gDimage[p * 3 + c] : 0.0f) + f.scale[c] * to_float(gDy[p * 3 + c]);
}

Affine affine(const std::array<double, 3>& scale, const std::array<double, 3>& offset) {
  Affine f;
  for (std::size_t c = 0; c < 3; ++c) f.scale[c] = float(scale[c]), f.offset[c] = float(offset[c]);
  return f;
}

}  // namespace

void normalize_image_fwd(const Stream& s, const NormalizeImageFwd& a) {
  const std::int64_t pixels = a.image.shape.rows();
  if (pixels == 0) return;
  MFL_CHECK(a.image.dtype == DType::f32, "normalize_image_fwd: ", a.image.dtype, " is not supported on CUDA (f32 is)");
  dispatch_gpu("normalize_image_fwd", a.y.dtype, [&](auto t) {
    normalize_image_fwd_kernel<<<unsigned(ceil_div(pixels, 256)), 256, 0, native(s)>>>(
        pointer<float>(a.image), int(a.image.shape[3]), affine(a.scale, a.offset), pointer<decltype(t)>(a.y), pixels);
    check_launch("normalize_image_fwd_kernel", s);
  });
}

void normalize_image_bwd(const Stream& s, const NormalizeImageBwd& a) {
  const std::int64_t pixels = a.dy.shape.rows();
  if (pixels == 0) return;
  dispatch_gpu("normalize_image_bwd", a.dy.dtype, [&](auto t) {
    normalize_image_bwd_kernel<<<unsigned(ceil_div(pixels, 256)), 256, 0, native(s)>>>(
        pointer<decltype(t)>(a.dy), affine(a.scale, {}), pointer<float>(a.dimage), pixels,
        a.dimage_mode == GradMode::accumulate);
    check_launch("normalize_image_bwd_kernel", s);
  });
}

}  // namespace mfl::cuda
