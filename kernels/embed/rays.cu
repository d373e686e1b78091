// Tokens of posed images, and rays.
//   Map        one thread a pixel, in the order of the output.
//   Bytes      12 + 2C a pixel (bf16 tokens).    Bound by   memory.    Numerics   f32.    Deterministic: yes.
#include "kernels/common/launch.cuh"
#include "kernels/embed/camera_ray.h"
#include "kernels/embed/rays.h"

namespace mfl::cuda {
namespace {

struct Batch {
  std::int64_t image, c2w, fxfycxcy;  // strides of the first axis, elements
};

template <class T>
__global__ void tokenize_kernel(const float* __restrict__ gImage, const float* __restrict__ gC2w,
                                const float* __restrict__ gK, T* __restrict__ gTokens, Batch stride, std::int64_t views,
                                std::int64_t height, std::int64_t width, std::int64_t image_channels, int patch,
                                PosedImage kind) {
  const std::int64_t pixels = height * width, i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  const std::int64_t b = blockIdx.y;
  if (i >= views * pixels) return;
  const std::int64_t v = i / pixels;
  const PixelXY at = pixel_of(i % pixels, width, patch);
  const auto ray = camera_ray<float>(gC2w + b * stride.c2w + v * 16, gK + b * stride.fxfycxcy + v * 4, at.x, at.y);
  const float *o = ray.origin, *d = ray.direction;
  const float* pixel = gImage + b * stride.image + ((v * height + at.y) * width + at.x) * image_channels;
  T* out = gTokens + (b * views * pixels + i) * channels_of(kind);
#pragma unroll
  for (int c = 0; c < 3; ++c) *out++ = from_float<T>(2 * pixel[c] - 1);
  if (kind != PosedImage::custom) {
    *out++ = from_float<T>(o[1] * d[2] - o[2] * d[1]);
    *out++ = from_float<T>(o[2] * d[0] - o[0] * d[2]);
    *out++ = from_float<T>(o[0] * d[1] - o[1] * d[0]);
  }
#pragma unroll
  for (int c = 0; c < 3; ++c) *out++ = from_float<T>(d[c]);
  if (kind != PosedImage::standard) {
    const float along = o[0] * d[0] + o[1] * d[1] + o[2] * d[2];
#pragma unroll
    for (int c = 0; c < 3; ++c) *out++ = from_float<T>(o[c] - along * d[c]);
  }
}

__global__ void camera_rays_kernel(const float* __restrict__ gC2w, const float* __restrict__ gK,
                                   float* __restrict__ gOrigin, float* __restrict__ gDirection, Batch stride,
                                   std::int64_t views, std::int64_t height, std::int64_t width, int patch) {
  const std::int64_t pixels = height * width, i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  const std::int64_t b = blockIdx.y;
  if (i >= views * pixels) return;
  const std::int64_t v = i / pixels, g = i % pixels;
  const PixelXY at = patch == 0 ? PixelXY{g % width, g / width} : pixel_of(g, width, patch);
  const auto ray = camera_ray<float>(gC2w + b * stride.c2w + v * 16, gK + b * stride.fxfycxcy + v * 4, at.x, at.y);
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    gOrigin[(b * views * pixels + i) * 3 + c] = ray.origin[c];
    gDirection[(b * views * pixels + i) * 3 + c] = ray.direction[c];
  }
}

void check_f32(const char* op, DType t) {
  if (t != DType::f32)
    throw_error<DeviceError>(op, ": images and cameras of type ", t, " are not supported on CUDA (f32 is)");
}

}  // namespace

void tokenize(const Stream& s, const Tokenize& a) {
  check_f32("tokenize", a.image.dtype);
  const std::int64_t batch = a.image.shape[0], views = a.image.shape[1], h = a.image.shape[2], w = a.image.shape[3];
  if (batch * views == 0) return;
  const dim3 grid(unsigned(ceil_div(views * h * w, 256)), unsigned(batch));
  const Batch stride{a.image.stride[0], a.c2w.stride[0], a.fxfycxcy.stride[0]};
  dispatch_gpu("tokenize", a.tokens.dtype, [&](auto t) {
    tokenize_kernel<<<grid, 256, 0, native(s)>>>(pointer<float>(a.image), pointer<float>(a.c2w),
                                                 pointer<float>(a.fxfycxcy), pointer<decltype(t)>(a.tokens), stride,
                                                 views, h, w, a.image.shape[4], a.patch, a.kind);
    check_launch("tokenize_kernel", s);
  });
}

void camera_rays(const Stream& s, const Rays& a) {
  check_f32("camera_rays", a.c2w.dtype);
  const std::int64_t batch = a.c2w.shape[0], views = a.c2w.shape[1];
  if (batch * views == 0) return;
  const dim3 grid(unsigned(ceil_div(views * a.height * a.width, 256)), unsigned(batch));
  camera_rays_kernel<<<grid, 256, 0, native(s)>>>(
      pointer<float>(a.c2w), pointer<float>(a.fxfycxcy), pointer<float>(a.origin), pointer<float>(a.direction),
      Batch{0, a.c2w.stride[0], a.fxfycxcy.stride[0]}, views, a.height, a.width, a.patch);
  check_launch("camera_rays_kernel", s);
}

}  // namespace mfl::cuda
