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

struct Box {
  int left, top, right, bottom;  // right and bottom exclusive
};
// The source's box with a transparent border.
constexpr int kBorder = 2;
struct Source {
  Box box;
  int width, height;
  std::vector<Pixel> pixels;
  explicit Source(const Box& b)
      : box(b), width(b.right - b.left + 2 * kBorder), height(b.bottom - b.top + 2 * kBorder), pixels(static_cast<std::size_t>(width) * height) {}
  Pixel* row(int y) { return pixels.data() + static_cast<std::size_t>(y - box.top + kBorder) * width + kBorder - box.left; }
};

Image warped(const Source& source, const Mat3& h, int size) {
  const Box& mask = source.box;
  const int border = kBorder, sw = source.width, sh = source.height;
  Image out(size, size, 4);

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
          const Pixel* a = source.pixels.data() + static_cast<std::size_t>(iv) * sw + iu;
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

}  // namespace

Image warp_masked(const Image& rgb, const Mask& mask, const Mat3& h, int size) {
  MFL_CHECK(rgb.channels == 3 && rgb.width == mask.image.width && rgb.height == mask.image.height,
            "warp_masked: a mask of ", mask.image.width, " x ", mask.image.height, " for an image of ", rgb.width,
            " x ", rgb.height, " x ", rgb.channels);
  if (!mask.area) return Image(size, size, 4);
  Source source({mask.left, mask.top, mask.right, mask.bottom});
  for (int y = mask.top; y < mask.bottom; ++y) {
    const std::uint8_t *m = mask.image.row(y), *c = rgb.row(y);
    Pixel* to = source.row(y);
    for (int x = mask.left; x < mask.right; ++x)
      if (m[x]) to[x] = {float(c[3 * x]), float(c[3 * x + 1]), float(c[3 * x + 2]), 1};
  }
  return warped(source, h, size);
}

Image warp_rgba(const Image& rgba, const Mat3& h, int size) {
  MFL_CHECK(rgba.channels == 4, "warp_rgba: an image with alpha was expected, got ", rgba.channels, " channels");
  Box box{rgba.width, rgba.height, 0, 0};
  for (int y = 0; y < rgba.height; ++y)
    for (int x = 0; x < rgba.width; ++x)
      if (rgba.row(y)[4 * x + 3])
        box = {std::min(box.left, x), std::min(box.top, y), std::max(box.right, x + 1), std::max(box.bottom, y + 1)};
  if (box.left >= box.right) return Image(size, size, 4);
  Source source(box);
  for (int y = box.top; y < box.bottom; ++y) {
    const std::uint8_t* c = rgba.row(y);
    Pixel* to = source.row(y);
    for (int x = box.left; x < box.right; ++x) {
      const float alpha = static_cast<float>(c[4 * x + 3]) / 255;
      to[x] = {alpha * float(c[4 * x]), alpha * float(c[4 * x + 1]), alpha * float(c[4 * x + 2]), alpha};
    }
  }
  return warped(source, h, size);
}

}  // namespace mfl::data::preprocess
