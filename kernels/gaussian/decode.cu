// The Gaussian decode.
//   Map        one thread a Gaussian.
//   Bytes      forward 2 C_g + 4 C_g, backward 2 C_g + 4 C_g + 2 C_g a Gaussian (bf16).    Bound by   memory.
//   Numerics   rays, depth and sums in f32.    Deterministic: yes.
#include "kernels/common/launch.cuh"
#include "kernels/gaussian/decode_math.h"

namespace mfl::cuda {
namespace {

// What both directions read. Offsets in elements.
template <class T>
struct Decode {
  const T *free, *pixel;
  const float *c2w, *fxfycxcy;
  std::int64_t c2w_stride, fxfycxcy_stride;
  std::int64_t n, n_free, pixels, width;  // pixels: of one view
  int patch, k3, channels;
  bool align;
  DepthRule rule;
  float depth_min, depth_max, depth_bias;

  // Offset of Gaussian g of item b in `free` or `pixel`.
  __device__ std::int64_t offset(std::int64_t b, std::int64_t g) const {
    return (g < n_free ? b * n_free + g : b * (n - n_free) + g - n_free) * channels;
  }
  __device__ bool aligned(std::int64_t g) const { return align && g >= n_free; }
  __device__ CameraRay<float> ray(std::int64_t b, std::int64_t g) const {
    const std::int64_t i = g - n_free, v = i / pixels;
    const PixelXY at = pixel_of(i % pixels, width, patch);
    return camera_ray<float>(c2w + b * c2w_stride + v * 16, fxfycxcy + b * fxfycxcy_stride + v * 4, at.x, at.y);
  }
  __device__ float sigmoid_of_mean(const T* raw) const {
    const float mean = (to_float(raw[0]) + to_float(raw[1]) + to_float(raw[2])) * (1.0f / 3.0f);
    return 1.0f / (1.0f + expf(-(mean + depth_bias)));
  }
};

struct Parts {
  float *xyz, *features, *scaling, *rotation, *opacity;
};
struct Gradients {
  const float *xyz, *features, *scaling, *rotation, *opacity;
};

template <class T>
__global__ void decode_fwd_kernel(Decode<T> in, Parts out) {
  const std::int64_t g = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x, b = blockIdx.y;
  if (g >= in.n) return;
  const T* raw = (g < in.n_free ? in.free : in.pixel) + in.offset(b, g);
  const std::int64_t i = b * in.n + g;
  float xyz[3];
  if (in.aligned(g)) {
    const auto ray = in.ray(b, g);
    const float t = depth_of<float>(in.rule, in.depth_min, in.depth_max, in.sigmoid_of_mean(raw), ray).t;
#pragma unroll
    for (int c = 0; c < 3; ++c) xyz[c] = ray.origin[c] + t * ray.direction[c];
  } else {
#pragma unroll
    for (int c = 0; c < 3; ++c) xyz[c] = to_float(raw[c]);
  }
#pragma unroll
  for (int c = 0; c < 3; ++c) out.xyz[i * 3 + c] = xyz[c];
  for (int c = 0; c < in.k3; ++c) out.features[i * in.k3 + c] = to_float(raw[3 + c]);
  raw += 3 + in.k3;
#pragma unroll
  for (int c = 0; c < 3; ++c) out.scaling[i * 3 + c] = fminf(to_float(raw[c]) + float(kScaleShift), float(kScaleMax));
#pragma unroll
  for (int c = 0; c < 4; ++c) out.rotation[i * 4 + c] = to_float(raw[3 + c]);
  out.opacity[i] = to_float(raw[7]) + float(kOpacityShift);
}

template <class T>
__global__ void decode_bwd_kernel(Decode<T> in, Gradients grad, T* __restrict__ gDfree, T* __restrict__ gDpixel,
                                  bool accumulate) {
  const std::int64_t g = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x, b = blockIdx.y;
  if (g >= in.n) return;
  const std::int64_t at = in.offset(b, g), i = b * in.n + g;
  const T* raw = (g < in.n_free ? in.free : in.pixel) + at;
  T* draw = (g < in.n_free ? gDfree : gDpixel) + at;
  auto write = [&](int c, float d) { draw[c] = from_float<T>(accumulate ? to_float(draw[c]) + d : d); };
  float dxyz[3];
#pragma unroll
  for (int c = 0; c < 3; ++c) dxyz[c] = grad.xyz[i * 3 + c];
  if (in.aligned(g)) {
    const auto ray = in.ray(b, g);
    const float s = in.sigmoid_of_mean(raw);
    const float slope = depth_of<float>(in.rule, in.depth_min, in.depth_max, s, ray).slope;
    const float dt = dxyz[0] * ray.direction[0] + dxyz[1] * ray.direction[1] + dxyz[2] * ray.direction[2];
    dxyz[0] = dxyz[1] = dxyz[2] = dt * slope * s * (1.0f - s) / 3.0f;
  }
#pragma unroll
  for (int c = 0; c < 3; ++c) write(c, dxyz[c]);
  for (int c = 0; c < in.k3; ++c) write(3 + c, grad.features[i * in.k3 + c]);
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const int channel = 3 + in.k3 + c;
    const bool bound = to_float(raw[channel]) + float(kScaleShift) > float(kScaleMax);
    write(channel, bound ? 0.0f : grad.scaling[i * 3 + c]);
  }
#pragma unroll
  for (int c = 0; c < 4; ++c) write(6 + in.k3 + c, grad.rotation[i * 4 + c]);
  write(10 + in.k3, grad.opacity[i]);
}

template <class T, class Args>
Decode<T> inputs(const char* op, const Args& a, std::int64_t n) {
  if (a.c2w.dtype != DType::f32)
    throw_error<DeviceError>(op, ": cameras of type ", a.c2w.dtype, " are not supported on CUDA (f32 is)");
  Decode<T> in{};
  in.free = a.free ? static_cast<const T*>(a.free.data) : nullptr;
  in.pixel = static_cast<const T*>(a.pixel.data);
  in.c2w = static_cast<const float*>(a.c2w.data), in.fxfycxcy = static_cast<const float*>(a.fxfycxcy.data);
  in.c2w_stride = a.c2w.stride[0], in.fxfycxcy_stride = a.fxfycxcy.stride[0];
  in.n = n, in.n_free = a.free ? a.free.shape[1] : 0;
  in.pixels = std::int64_t{a.height} * a.width, in.width = a.width;
  in.patch = a.config.patch, in.k3 = int(3 * a.config.coefficients()), in.channels = int(a.config.channels());
  in.align = a.config.pixel_align, in.rule = a.config.depth;
  in.depth_min = float(a.config.depth_min), in.depth_max = float(a.config.depth_max);
  in.depth_bias = float(a.config.depth_bias);
  return in;
}

dim3 grid_of(std::int64_t n, std::int64_t batch) { return dim3(unsigned(ceil_div(n, 128)), unsigned(batch)); }

}  // namespace

void decode_fwd(const Stream& s, const DecodeFwd& a) {
  const std::int64_t batch = a.xyz.shape[0], n = a.xyz.shape[1];
  if (batch * n == 0) return;
  const Parts out{pointer<float>(a.xyz), pointer<float>(a.features), pointer<float>(a.scaling),
                  pointer<float>(a.rotation), pointer<float>(a.opacity)};
  dispatch_gpu("decode_fwd", a.pixel.dtype, [&](auto t) {
    using T = device_t<decltype(t)>;
    decode_fwd_kernel<T><<<grid_of(n, batch), 128, 0, native(s)>>>(inputs<T>("decode_fwd", a, n), out);
    check_launch("decode_fwd_kernel", s);
  });
}

void decode_bwd(const Stream& s, const DecodeBwd& a) {
  const std::int64_t batch = a.dxyz.shape[0], n = a.dxyz.shape[1];
  if (batch * n == 0) return;
  const Gradients grad{pointer<float>(a.dxyz), pointer<float>(a.dfeatures), pointer<float>(a.dscaling),
                       pointer<float>(a.drotation), pointer<float>(a.dopacity)};
  dispatch_gpu("decode_bwd", a.pixel.dtype, [&](auto t) {
    using T = device_t<decltype(t)>;
    decode_bwd_kernel<T>
        <<<grid_of(n, batch), 128, 0, native(s)>>>(inputs<T>("decode_bwd", a, n), grad, static_cast<T*>(a.dfree.data),
                                                   static_cast<T*>(a.dpixel.data), a.mode == GradMode::accumulate);
    check_launch("decode_bwd_kernel", s);
  });
}

}  // namespace mfl::cuda
