// The losses on ray alignment.
//   Map        kParts blocks a view, partial sums in f64, one block adds them in their order. Distances are computed
//              again in each of the three passes of points_dist: cheaper than storing them.
//   Bound by   memory: 12 bytes a pixel and pass.    Numerics   f32 a pixel, f64 sums.    Deterministic: yes.
#include "kernels/common/launch.cuh"
#include "kernels/common/reduce_f64.cuh"
#include "kernels/embed/camera_ray.h"
#include "kernels/gaussian/align_loss.h"

namespace mfl::cuda {
namespace {

constexpr int kThreads = 256, kParts = 64;

struct Points {
  const float *xyz, *c2w, *fxfycxcy, *target;  // target may be null
  std::int64_t xyz_stride, c2w_stride, k_stride, target_stride;
  std::int64_t batch, views, height, width;
  int patch;
  __host__ __device__ std::int64_t pixels() const { return height * width; }
  __host__ __device__ double count() const { return double(batch * views * height * width); }
};

struct Point {
  CameraRay<float> ray;
  float e[3], length, alpha;
};

// Pixel Gaussian g of view bv (batch item and view in one index).
__device__ Point point_of(const Points& in, std::int64_t bv, std::int64_t g) {
  const std::int64_t b = bv / in.views, v = bv % in.views;
  const PixelXY at = pixel_of(g, in.width, in.patch);
  Point p;
  p.ray = camera_ray<float>(in.c2w + b * in.c2w_stride + v * 16, in.fxfycxcy + b * in.k_stride + v * 4, at.x, at.y);
  const float* xyz = in.xyz + b * in.xyz_stride + (v * in.pixels() + g) * 3;
#pragma unroll
  for (int c = 0; c < 3; ++c) p.e[c] = xyz[c] - p.ray.origin[c];
  p.length = sqrtf(p.e[0] * p.e[0] + p.e[1] * p.e[1] + p.e[2] * p.e[2]);
  p.alpha = in.target ? in.target[b * in.target_stride + ((v * in.height + at.y) * in.width + at.x) * 4 + 3] : 1.0f;
  return p;
}

__device__ float off_ray(const Point& p, float (&r)[3]) {
  const float* d = p.ray.direction;
  const float along = (p.e[0] * d[0] + p.e[2] * d[2]) + p.e[1] * d[1];
#pragma unroll
  for (int c = 0; c < 3; ++c) r[c] = p.e[c] - along * d[c];
  return sqrtf(r[0] * r[0] + r[1] * r[1] + r[2] * r[2]);
}

__device__ float goal_of(const Point& p, float mean, float deviation) {
  const float* o = p.ray.origin;
  return (p.length - mean) / (deviation + 1e-8f) * 0.5f + sqrtf(o[0] * o[0] + o[1] * o[1] + o[2] * o[2]);
}

// gPartial[view * kParts + part] = sum of f over this block's pixels of the view.
template <class F>
__device__ void sum_pixels(const Points& in, double* gPartial, F f) {
  const std::int64_t bv = blockIdx.y;
  double sum = 0;
  for (std::int64_t g = std::int64_t(blockIdx.x) * kThreads + threadIdx.x; g < in.pixels(); g += kParts * kThreads)
    sum += double(f(point_of(in, bv, g)));
  sum = block_sum_f64<kThreads>(sum);
  if (threadIdx.x == 0) gPartial[bv * kParts + blockIdx.x] = sum;
}

// Sum of the parts of this block's view.
__device__ double view_sum(const double* gPartial) {
  double sum = 0;
  for (int p = 0; p < kParts; ++p) sum += gPartial[std::int64_t(blockIdx.y) * kParts + p];
  return sum;
}

__global__ void __launch_bounds__(kThreads) off_ray_kernel(Points in, double* gPartial) {
  sum_pixels(in, gPartial, [](const Point& p) {
    float r[3];
    return p.alpha * off_ray(p, r);
  });
}

__global__ void __launch_bounds__(kThreads) distance_kernel(Points in, double* gPartial) {
  sum_pixels(in, gPartial, [](const Point& p) { return p.length; });
}

__global__ void __launch_bounds__(kThreads) deviation_kernel(Points in, const double* gDistance, double* gPartial) {
  const float mean = float(view_sum(gDistance) / double(in.pixels()));
  sum_pixels(in, gPartial, [mean](const Point& p) { return (p.length - mean) * (p.length - mean); });
}

__global__ void __launch_bounds__(kThreads)
    shell_kernel(Points in, const double* gDistance, const double* gSquare, float* gStats, double* gPartial) {
  const float mean = float(view_sum(gDistance) / double(in.pixels()));
  const float deviation = float(sqrt(view_sum(gSquare) / double(in.pixels() - 1)));
  if (blockIdx.x == 0 && threadIdx.x == 0) gStats[2 * blockIdx.y] = mean, gStats[2 * blockIdx.y + 1] = deviation;
  sum_pixels(in, gPartial, [=](const Point& p) {
    const float d = p.length - goal_of(p, mean, deviation);
    return d * d;
  });
}

__global__ void __launch_bounds__(kThreads)
    mean_kernel(const double* gPartial, std::int64_t parts, double count, float* gLoss) {
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < parts; i += kThreads) sum += gPartial[i];
  sum = block_sum_f64<kThreads>(sum);
  if (threadIdx.x == 0) gLoss[0] = float(sum / count);
}

// gStats null: pixel_align; else points_dist.
__global__ void __launch_bounds__(kThreads) align_bwd_kernel(Points in, const float* gStats, float weight, float* gDxyz,
                                                             std::int64_t dxyz_stride, bool accumulate) {
  const std::int64_t g = std::int64_t(blockIdx.x) * kThreads + threadIdx.x, bv = blockIdx.y;
  if (g >= in.pixels()) return;
  const Point p = point_of(in, bv, g);
  float d[3];
  if (gStats) {
    const float slope = 2 * weight * (p.length - goal_of(p, gStats[2 * bv], gStats[2 * bv + 1]));
#pragma unroll
    for (int c = 0; c < 3; ++c) d[c] = p.length > 0 ? slope * p.e[c] / p.length : 0.0f;
  } else {
    float r[3];
    const float length = off_ray(p, r);
#pragma unroll
    for (int c = 0; c < 3; ++c) d[c] = length > 0 ? weight * p.alpha * r[c] / length : 0.0f;
  }
  float* out = gDxyz + bv / in.views * dxyz_stride + (bv % in.views * in.pixels() + g) * 3;
#pragma unroll
  for (int c = 0; c < 3; ++c) out[c] = accumulate ? out[c] + d[c] : d[c];
}

Points points(const char* op, const ConstView& xyz, const PixelGrid& g, const ConstView& target) {
  if (xyz.dtype != DType::f32 || g.c2w.dtype != DType::f32)
    throw_error<DeviceError>(op, ": points of type ", xyz.dtype, " with cameras of type ", g.c2w.dtype,
                             " are not supported on CUDA (f32 is)");
  return {pointer<float>(xyz),
          pointer<float>(g.c2w),
          pointer<float>(g.fxfycxcy),
          target ? pointer<float>(target) : nullptr,
          xyz.stride[0],
          g.c2w.stride[0],
          g.fxfycxcy.stride[0],
          target ? target.stride[0] : 0,
          g.c2w.shape[0],
          g.c2w.shape[1],
          g.height,
          g.width,
          g.patch};
}

void mean(const Stream& s, const Points& in, const double* partial, const View& loss) {
  mean_kernel<<<1, kThreads, 0, native(s)>>>(partial, in.batch * in.views * kParts, in.count(), pointer<float>(loss));
  check_launch("mean_kernel", s);
}

void backward(const Stream& s, const Points& in, const float* stats, double weight, const View& dxyz, GradMode mode) {
  const dim3 grid(unsigned(ceil_div(in.pixels(), kThreads)), unsigned(in.batch * in.views));
  align_bwd_kernel<<<grid, kThreads, 0, native(s)>>>(in, stats, float(weight / in.count()), pointer<float>(dxyz),
                                                     dxyz.stride[0], mode == GradMode::accumulate);
  check_launch("align_bwd_kernel", s);
}

}  // namespace

void pixel_align_fwd(const Stream& s, const PixelAlignFwd& a) {
  const Points in = points("pixel_align_fwd", a.xyz, a.grid, a.target);
  auto* partial = static_cast<double*>(a.scratch.data);
  off_ray_kernel<<<dim3(kParts, unsigned(in.batch * in.views)), kThreads, 0, native(s)>>>(in, partial);
  check_launch("off_ray_kernel", s);
  mean(s, in, partial, a.loss);
}

void pixel_align_bwd(const Stream& s, const PixelAlignBwd& a) {
  backward(s, points("pixel_align_bwd", a.xyz, a.grid, a.target), nullptr, a.weight, a.dxyz, a.dxyz_mode);
}

void points_dist_fwd(const Stream& s, const PointsDistFwd& a) {
  const Points in = points("points_dist_fwd", a.xyz, a.grid, {});
  const std::int64_t parts = in.batch * in.views * kParts;
  auto* distance = static_cast<double*>(a.scratch.data);
  double *square = distance + parts, *shell = square + parts;
  const dim3 grid(kParts, unsigned(in.batch * in.views));
  distance_kernel<<<grid, kThreads, 0, native(s)>>>(in, distance);
  check_launch("distance_kernel", s);
  deviation_kernel<<<grid, kThreads, 0, native(s)>>>(in, distance, square);
  check_launch("deviation_kernel", s);
  shell_kernel<<<grid, kThreads, 0, native(s)>>>(in, distance, square, pointer<float>(a.stats), shell);
  check_launch("shell_kernel", s);
  mean(s, in, shell, a.loss);
}

void points_dist_bwd(const Stream& s, const PointsDistBwd& a) {
  backward(s, points("points_dist_bwd", a.xyz, a.grid, {}), pointer<float>(a.stats), a.weight, a.dxyz, a.dxyz_mode);
}

}  // namespace mfl::cuda
