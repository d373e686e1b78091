#include "data/image.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace mfl::data {
namespace {

std::uint8_t clip8(int v) { return static_cast<std::uint8_t>(std::clamp(v, 0, 255)); }
// v / 255 rounded to nearest, exact for 0 <= v <= 255 * 255.
std::uint8_t divide_by_255(unsigned v) {
  v += 128;
  return static_cast<std::uint8_t>((v + (v >> 8)) >> 8);
}

void premultiply(Image& im) {
  for (std::size_t i = 0; i < im.pixels.size(); i += 4)
    for (int c = 0; c < 3; ++c) im.pixels[i + c] = divide_by_255(unsigned{im.pixels[i + c]} * im.pixels[i + 3]);
}
// Truncating, and clipped because ringing can lift a colour above its alpha.
void unpremultiply(Image& im) {
  for (std::size_t i = 0; i < im.pixels.size(); i += 4) {
    const int a = im.pixels[i + 3];
    if (a == 0 || a == 255) continue;
    for (int c = 0; c < 3; ++c) im.pixels[i + c] = clip8(255 * im.pixels[i + c] / a);
  }
}

constexpr int kPrecisionBits = 32 - 8 - 2;

double lanczos3(double x) {
  if (x < -3.0 || x >= 3.0) return 0.0;
  if (x == 0.0) return 1.0;
  const double a = x * std::numbers::pi, b = x / 3.0 * std::numbers::pi;
  return std::sin(a) / a * (std::sin(b) / b);
}

// For each output position: the first input position, and fixed-point weights.
struct Taps {
  std::vector<int> first, count, weight;
  int most = 0;
};
Taps make_taps(int in, int out) {
  const double scale = static_cast<double>(in) / out, widen = std::max(scale, 1.0), support = 3.0 * widen;
  Taps t;
  t.most = static_cast<int>(std::ceil(support)) * 2 + 1;
  t.first.resize(out), t.count.resize(out);
  t.weight.assign(static_cast<std::size_t>(out) * t.most, 0);
  std::vector<double> w(t.most);
  for (int i = 0; i < out; ++i) {
    const double centre = (i + 0.5) * scale;
    const int lo = std::max(static_cast<int>(centre - support + 0.5), 0);
    const int n = std::min(static_cast<int>(centre + support + 0.5), in) - lo;
    double sum = 0;
    for (int k = 0; k < n; ++k) sum += w[k] = lanczos3((k + lo - centre + 0.5) * (1.0 / widen));
    for (int k = 0; k < n; ++k) {
      const double v = (sum != 0 ? w[k] / sum : w[k]) * (1 << kPrecisionBits);
      t.weight[static_cast<std::size_t>(i) * t.most + k] = static_cast<int>(v < 0 ? v - 0.5 : v + 0.5);
    }
    t.first[i] = lo, t.count[i] = n;
  }
  return t;
}

Image resample_rows(const Image& in, int width) {
  const Taps t = make_taps(in.width, width);
  const int C = in.channels;
  Image out(width, in.height, C);
  for (int y = 0; y < in.height; ++y) {
    const std::uint8_t* row = in.row(y);
    for (int x = 0; x < width; ++x) {
      const int* w = &t.weight[static_cast<std::size_t>(x) * t.most];
      for (int c = 0; c < C; ++c) {
        int sum = 1 << (kPrecisionBits - 1);
        for (int k = 0; k < t.count[x]; ++k) sum += row[(t.first[x] + k) * C + c] * w[k];
        out.row(y)[x * C + c] = clip8(sum >> kPrecisionBits);
      }
    }
  }
  return out;
}

Image resample_columns(const Image& in, int height) {
  const Taps t = make_taps(in.height, height);
  const int row_bytes = in.width * in.channels;
  Image out(in.width, height, in.channels);
  std::vector<int> sum(row_bytes);
  for (int y = 0; y < height; ++y) {
    std::fill(sum.begin(), sum.end(), 1 << (kPrecisionBits - 1));
    for (int k = 0; k < t.count[y]; ++k) {
      const std::uint8_t* row = in.row(t.first[y] + k);
      const int w = t.weight[static_cast<std::size_t>(y) * t.most + k];
      for (int i = 0; i < row_bytes; ++i) sum[i] += row[i] * w;
    }
    for (int i = 0; i < row_bytes; ++i) out.row(y)[i] = clip8(sum[i] >> kPrecisionBits);
  }
  return out;
}

// Towards `to` from `from` by `factor`, in f32, truncated and clipped.
std::uint8_t blend(int from, int to, float factor) {
  const float v = static_cast<float>(from) + factor * static_cast<float>(to - from);
  return v <= 0.0f ? 0 : v >= 255.0f ? 255 : static_cast<std::uint8_t>(v);
}

}  // namespace

Image with_channels(const Image& in, int channels) {
  MFL_CHECK((channels == 3 || channels == 4) && (in.channels == 1 || in.channels == 3 || in.channels == 4),
            "with_channels: from ", in.channels, " to ", channels);
  if (in.channels == channels) return in;
  Image out(in.width, in.height, channels);
  const std::size_t n = static_cast<std::size_t>(in.width) * in.height;
  for (std::size_t i = 0; i < n; ++i) {
    for (int c = 0; c < 3; ++c) out.pixels[i * channels + c] = in.pixels[i * in.channels + (in.channels == 1 ? 0 : c)];
    if (channels == 4) out.pixels[i * 4 + 3] = 255;
  }
  return out;
}

Image resize_lanczos(const Image& in, int width, int height) {
  MFL_CHECK(in.width > 0 && in.height > 0 && width > 0 && height > 0, "resize_lanczos: from ", in.width, " x ", in.height,
            " to ", width, " x ", height);
  if (in.width == width && in.height == height) return in;
  Image im = in;
  if (in.channels == 4) premultiply(im);
  if (im.width != width) im = resample_rows(im, width);
  if (im.height != height) im = resample_columns(im, height);
  if (in.channels == 4) unpremultiply(im);
  return im;
}

void composite_over(Image& im, const std::uint8_t colour[3]) {
  MFL_CHECK(im.channels == 4, "composite_over: needs alpha, got ", im.channels, " channels");
  for (std::size_t i = 0; i < im.pixels.size(); i += 4) {
    const unsigned a = im.pixels[i + 3];
    for (int c = 0; c < 3; ++c) im.pixels[i + c] = divide_by_255(colour[c] * (255 - a) + im.pixels[i + c] * a);
  }
}

void adjust_brightness(Image& im, float factor) {
  if (factor == 1.0f) return;
  for (std::size_t i = 0; i < im.pixels.size(); i += im.channels)
    for (int c = 0; c < 3; ++c) im.pixels[i + c] = blend(0, im.pixels[i + c], factor);
}

void adjust_contrast(Image& im, float factor) {
  if (factor == 1.0f) return;
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < im.pixels.size(); i += im.channels) {
    const std::uint8_t* p = &im.pixels[i];
    sum += (p[0] * 19595u + p[1] * 38470u + p[2] * 7471u + 0x8000u) >> 16;   // ITU-R 601-2 luma
  }
  const int pivot = static_cast<int>(static_cast<double>(sum) / (static_cast<double>(im.width) * im.height) + 0.5);
  for (std::size_t i = 0; i < im.pixels.size(); i += im.channels)
    for (int c = 0; c < 3; ++c) im.pixels[i + c] = blend(pivot, im.pixels[i + c], factor);
}

void flip_horizontal(Image& im) {
  for (int y = 0; y < im.height; ++y)
    for (int a = 0, b = im.width - 1; a < b; ++a, --b)
      std::swap_ranges(im.row(y) + a * im.channels, im.row(y) + (a + 1) * im.channels, im.row(y) + b * im.channels);
}

Image rotate(const Image& in, double degrees) {
  Image source = in;
  if (in.channels == 4) premultiply(source);
  const double a = degrees * std::numbers::pi / 180, cos = std::cos(a), sin = std::sin(a);
  const double cx = 0.5 * in.width, cy = 0.5 * in.height;
  const int C = in.channels;
  Image out(in.width, in.height, C);
  for (int y = 0; y < in.height; ++y)
    for (int x = 0; x < in.width; ++x) {
      const double dx = x + 0.5 - cx, dy = y + 0.5 - cy;   // y points down: the inverse of a counter-clockwise turn
      const double u = cos * dx - sin * dy + cx, v = sin * dx + cos * dy + cy;
      if (u < 0 || u >= in.width || v < 0 || v >= in.height) continue;
      const double fu = std::floor(u - 0.5), fv = std::floor(v - 0.5), tu = u - 0.5 - fu, tv = v - 0.5 - fv;
      const int x0 = std::max(static_cast<int>(fu), 0), x1 = std::min(static_cast<int>(fu) + 1, in.width - 1);
      const int y0 = std::max(static_cast<int>(fv), 0), y1 = std::min(static_cast<int>(fv) + 1, in.height - 1);
      for (int c = 0; c < C; ++c) {
        const double top = (1 - tu) * source.row(y0)[x0 * C + c] + tu * source.row(y0)[x1 * C + c];
        const double bottom = (1 - tu) * source.row(y1)[x0 * C + c] + tu * source.row(y1)[x1 * C + c];
        out.row(y)[x * C + c] = clip8(static_cast<int>((1 - tv) * top + tv * bottom));
      }
    }
  if (in.channels == 4) unpremultiply(out);
  return out;
}

double foreground_share(const Image& im) {
  if (im.channels != 4) return 1;
  std::uint64_t sum = 0;
  for (std::size_t i = 3; i < im.pixels.size(); i += 4) sum += im.pixels[i];
  return static_cast<double>(sum) / (255.0 * im.width * im.height);
}

}  // namespace mfl::data
