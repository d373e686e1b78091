#include "data/preprocess/warp.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "data/preprocess/linear.h"

namespace mfl::data::preprocess {
namespace {

using Pixel = std::array<float, 4>;  // premultiplied R, G, B of 255, and coverage 0 or 1

struct Point {
  double x, y, w;
};
Point through(const Mat3& h, double x, double y) {
  const Vec3 p = product(h, Vec3{x, y, 1});
  return {p[0] / p[2], p[1] / p[2], p[2]};
}

// Source pixels that one new pixel spans along its longer axis, at most, over the corners of a box of the new image.
double minification(const Mat3& back, double left, double top, double right, double bottom) {
  double most = 0;
  for (const double x : {left, right})
    for (const double y : {top, bottom}) {
      const Point p = through(back, x, y), dx = through(back, x + 1, y), dy = through(back, x, y + 1);
      most = std::max({most, std::hypot(dx.x - p.x, dx.y - p.y), std::hypot(dy.x - p.x, dy.y - p.y)});
    }
  return most;
}

}  // namespace

Image warp_masked(const Image& rgb, const Mask& mask, const Mat3& h, int size) {
  MFL_CHECK(rgb.channels == 3 && rgb.width == mask.image.width && rgb.height == mask.image.height,
            "warp_masked: a mask of ", mask.image.width, " x ", mask.image.height, " for an image of ", rgb.width,
            " x ", rgb.height, " x ", rgb.channels);
  Image out(size, size, 4);
  if (!mask.area) return out;

  // The animal's box in the new image; all of it lies in front of the new camera, or the box means nothing.
  double left = size, top = size, right = 0, bottom = 0;
  for (const int x : {mask.left - 1, mask.right + 1})
    for (const int y : {mask.top - 1, mask.bottom + 1}) {
      const Point p = through(h, x, y);
      if (!(p.w > 0))
        throw_error<DataError>(
            "the animal's outline reaches beyond the horizon of the new camera; keep the cameras' own directions "
            "(--aim keep)");
      left = std::min(left, p.x), right = std::max(right, p.x), top = std::min(top, p.y),
      bottom = std::max(bottom, p.y);
    }
  const int x0 = static_cast<int>(std::floor(std::clamp(left, 0.0, double(size)))),
            x1 = static_cast<int>(std::ceil(std::clamp(right, 0.0, double(size))));
  const int y0 = static_cast<int>(std::floor(std::clamp(top, 0.0, double(size)))),
            y1 = static_cast<int>(std::ceil(std::clamp(bottom, 0.0, double(size))));
  if (x0 >= x1 || y0 >= y1) return out;

  // The source box with a transparent border of two pixels.
  const int border = 2, sw = mask.right - mask.left + 2 * border, sh = mask.bottom - mask.top + 2 * border;
  std::vector<Pixel> source(static_cast<std::size_t>(sw) * sh);
  for (int y = mask.top; y < mask.bottom; ++y) {
    const std::uint8_t *m = mask.image.row(y), *c = rgb.row(y);
    Pixel* to = source.data() + static_cast<std::size_t>(y - mask.top + border) * sw + border - mask.left;
    for (int x = mask.left; x < mask.right; ++x)
      if (m[x]) to[x] = {float(c[3 * x]), float(c[3 * x + 1]), float(c[3 * x + 2]), 1};
  }

  const Mat3 back = inverse(h);
  const int n = static_cast<int>(std::clamp(std::ceil(2 * minification(back, x0, y0, x1, y1)), 2.0, 32.0));
  // From the corner convention to indices of `source`, whose pixel centres are integers.
  const double shift_x = 0.5 + mask.left - border, shift_y = 0.5 + mask.top - border;
  for (int y = y0; y < y1; ++y)
    for (int x = x0; x < x1; ++x) {
      Pixel sum{};
      for (int j = 0; j < n; ++j) {
        // Numerators and denominator are linear along a row of samples.
        Vec3 p = product(back, Vec3{x + 0.5 / n, y + (j + 0.5) / n, 1});
        const Vec3 step{back[0] / n, back[3] / n, back[6] / n};
        for (int i = 0; i < n; ++i, p = {p[0] + step[0], p[1] + step[1], p[2] + step[2]}) {
          const double inverse_w = 1 / p[2], u = p[0] * inverse_w - shift_x, v = p[1] * inverse_w - shift_y;
          if (!(u > 0 && v > 0 && u < sw - 1 && v < sh - 1)) continue;
          const int iu = static_cast<int>(u), iv = static_cast<int>(v);
          const float fu = static_cast<float>(u - iu), fv = static_cast<float>(v - iv);
          const Pixel* a = source.data() + static_cast<std::size_t>(iv) * sw + iu;
          const Pixel* b = a + sw;
          const float wa = (1 - fu) * (1 - fv), wb = fu * (1 - fv), wc = (1 - fu) * fv, wd = fu * fv;
          for (int k = 0; k < 4; ++k) sum[k] += wa * a[0][k] + wb * a[1][k] + wc * b[0][k] + wd * b[1][k];
        }
      }
      const auto alpha = static_cast<std::uint8_t>(std::lround(255 * sum[3] / static_cast<float>(n * n)));
      if (!alpha) continue;
      std::uint8_t* to = out.row(y) + 4 * x;
      for (int k = 0; k < 3; ++k) to[k] = static_cast<std::uint8_t>(std::clamp(std::lround(sum[k] / sum[3]), 0l, 255l));
      to[3] = alpha;
    }
  return out;
}

}  // namespace mfl::data::preprocess
