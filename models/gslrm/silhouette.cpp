#include "models/gslrm/silhouette.h"

#include <algorithm>
#include <cmath>

#include "kernels/splat/camera.h"
#include "kernels/splat/splat_math.h"

namespace mfl::gslrm {
namespace {

// 1 where a row has a 1 at most `by` away; on lines of `step`-strided pixels.
void widen(std::uint8_t* line, std::int64_t count, std::int64_t step, int by, std::vector<std::int64_t>& nearest) {
  constexpr std::int64_t kNever = std::int64_t{1} << 40;
  nearest.assign(static_cast<std::size_t>(count), kNever);
  std::int64_t last = -kNever;
  for (std::int64_t i = 0; i < count; ++i) {
    if (line[i * step]) last = i;
    nearest[static_cast<std::size_t>(i)] = i - last;
  }
  last = kNever;
  for (std::int64_t i = count - 1; i >= 0; --i) {
    if (line[i * step]) last = i;
    nearest[static_cast<std::size_t>(i)] = std::min(nearest[static_cast<std::size_t>(i)], last - i);
  }
  for (std::int64_t i = 0; i < count; ++i) line[i * step] = nearest[static_cast<std::size_t>(i)] <= by;
}

}  // namespace

Tensor silhouettes(const Tensor& pictures, const std::array<double, 3>& background, double threshold) {
  const Shape& s = pictures.shape();
  MFL_CHECK(s.rank() == 4 && (s[3] == 3 || s[3] == 4), "silhouettes: pictures ", s, ", expected [V, H, W, 3 or 4]");
  Tensor out = Tensor::on_heap({s[0], s[1], s[2]}, DType::u8);
  const float* x = pictures.data<float>();
  for (std::int64_t p = 0; p < out.numel(); ++p, x += s[3]) {
    double distance = 0;
    for (std::size_t c = 0; c < 3; ++c) distance += std::abs(double(x[c]) - background[c]);
    out.data<std::uint8_t>()[p] = s[3] == 4 ? x[3] > 0.5f : distance / 3 > threshold;
  }
  return out;
}

std::vector<std::uint8_t> inside_silhouettes(const Gaussians& g, const Cameras& k, const Tensor& outlines, const SilhouetteCrop& crop,
                                             SilhouetteCounts* counts) {
  const std::int64_t n = g.xyz.shape()[0], views = k.c2w.shape()[0];
  MFL_CHECK(outlines.shape() == Shape({views, k.height, k.width}), "inside_silhouettes: outlines ", outlines.shape(), " for ", views,
            " cameras of ", k.height, " x ", k.width);
  MFL_CHECK(crop.share > 0 && crop.share <= 1 && crop.dilation >= 0, "inside_silhouettes: a share of ", crop.share, " and a dilation of ", crop.dilation);
  const std::int64_t pixels = std::int64_t{k.height} * k.width;
  std::vector<std::uint8_t> wide(outlines.data<std::uint8_t>(), outlines.data<std::uint8_t>() + outlines.numel());
  std::vector<SplatCamera<double>> cameras;
  std::vector<std::int64_t> nearest;
  for (std::int64_t v = 0; v < views; ++v) {
    std::uint8_t* one = wide.data() + v * pixels;
    for (int y = 0; y < k.height; ++y) widen(one + std::int64_t{y} * k.width, k.width, 1, crop.dilation, nearest);
    for (int x = 0; x < k.width; ++x) widen(one + x, k.height, k.width, crop.dilation, nearest);
    double c2w[16], intrinsics[4];
    std::copy_n(k.c2w.data<float>() + 16 * v, 16, c2w);
    std::copy_n(k.fxfycxcy.data<float>() + 4 * v, 4, intrinsics);
    cameras.push_back(make_splat_camera(c2w, intrinsics, k.width, k.height));
  }

  SilhouetteCounts c{.before = n, .outside = std::vector<std::int64_t>(static_cast<std::size_t>(views), 0)};
  std::vector<std::uint8_t> mask(static_cast<std::size_t>(n), 0);
  for (std::int64_t i = 0; i < n; ++i) {
    const float* x = g.xyz.data<float>() + 3 * i;
    int seen = 0, inside = 0;
    for (std::int64_t v = 0; v < views; ++v) {
      const SplatCamera<double>& cam = cameras[static_cast<std::size_t>(v)];
      double t[3];
      for (int r = 0; r < 3; ++r) t[r] = cam.w[3 * r] * double(x[0]) + cam.w[3 * r + 1] * double(x[1]) + cam.w[3 * r + 2] * double(x[2]) + cam.p[r];
      if (!(t[2] > kSplatNear)) continue;
      const double u = std::floor(cam.fx * t[0] / t[2] + cam.cx), w = std::floor(cam.fy * t[1] / t[2] + cam.cy);   // its pixel
      if (!(u >= 0 && u < k.width && w >= 0 && w < k.height)) continue;
      ++seen;
      if (wide[static_cast<std::size_t>(v * pixels + static_cast<std::int64_t>(w) * k.width + static_cast<std::int64_t>(u))])
        ++inside;
      else
        ++c.outside[static_cast<std::size_t>(v)];
    }
    c.unseen += seen == 0;
    const bool keep = seen > 0 && inside >= static_cast<int>(std::ceil(crop.share * seen - 1e-9));
    mask[static_cast<std::size_t>(i)] = keep;
    c.kept += keep;
  }
  if (counts) *counts = std::move(c);
  return mask;
}

}  // namespace mfl::gslrm
