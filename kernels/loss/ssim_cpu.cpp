#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "kernels/common/dispatch.h"
#include "kernels/common/grad_write.h"
#include "kernels/loss/ssim.h"

namespace mfl::cpu {
namespace {

constexpr int kBorder = kSsimTaps - 1;
using Plane = std::vector<double>;

std::array<double, kSsimTaps> window() {
  std::array<double, kSsimTaps> w;
  double sum = 0;
  for (int k = 0; k < kSsimTaps; ++k)
    sum += w[std::size_t(k)] = std::exp(-std::pow(k - kSsimTaps / 2, 2) / (2 * kSsimSigma * kSsimSigma));
  for (double& v : w) v /= sum;
  return w;
}

// out[h, w] = sum_kl win[k] win[l] in[h + k, w + l], valid positions only: [H, W] to [H-10, W-10].
Plane blur(const Plane& in, std::int64_t height, std::int64_t width) {
  const auto win = window();
  const std::int64_t h_out = height - kBorder, w_out = width - kBorder;
  Plane rows(std::size_t(height * w_out), 0.0), out(std::size_t(h_out * w_out), 0.0);
  for (std::int64_t h = 0; h < height; ++h)
    for (int k = 0; k < kSsimTaps; ++k)
      for (std::int64_t w = 0; w < w_out; ++w)
        rows[std::size_t(h * w_out + w)] += win[std::size_t(k)] * in[std::size_t(h * width + w + k)];
  for (std::int64_t h = 0; h < h_out; ++h)
    for (int k = 0; k < kSsimTaps; ++k)
      for (std::int64_t w = 0; w < w_out; ++w)
        out[std::size_t(h * w_out + w)] += win[std::size_t(k)] * rows[std::size_t((h + k) * w_out + w)];
  return out;
}

// The transpose of blur: [H-10, W-10] to [H, W].
Plane spread(const Plane& in, std::int64_t height, std::int64_t width) {
  const auto win = window();
  const std::int64_t h_in = height - kBorder, w_in = width - kBorder;
  Plane rows(std::size_t(height * w_in), 0.0), out(std::size_t(height * width), 0.0);
  for (std::int64_t h = 0; h < h_in; ++h)
    for (int k = 0; k < kSsimTaps; ++k)
      for (std::int64_t w = 0; w < w_in; ++w)
        rows[std::size_t((h + k) * w_in + w)] += win[std::size_t(k)] * in[std::size_t(h * w_in + w)];
  for (std::int64_t h = 0; h < height; ++h)
    for (int k = 0; k < kSsimTaps; ++k)
      for (std::int64_t w = 0; w < w_in; ++w)
        out[std::size_t(h * width + w + k)] += win[std::size_t(k)] * rows[std::size_t(h * w_in + w)];
  return out;
}

// One channel of image m of both sides, with the mask applied.
template <class T>
void load(const ConstView& render, const ConstView& target, bool masked, std::int64_t m, int c, Plane& x, Plane& y) {
  const std::int64_t pixels = render.shape[1] * render.shape[2], ct = target.shape[3];
  const T* r = render.as<T>() + m * pixels * 3;
  const float* t = target.as<float>() + m * pixels * ct;
  x.resize(std::size_t(pixels));
  y.resize(std::size_t(pixels));
  for (std::int64_t p = 0; p < pixels; ++p) {
    const bool hidden = masked && !(t[p * ct + 3] > 0.5f);
    x[std::size_t(p)] = hidden ? 0.5 : double(r[p * 3 + c]);
    y[std::size_t(p)] = hidden ? 0.5 : double(t[p * ct + c]);
  }
}

Plane product(const Plane& a, const Plane& b) {
  Plane out(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) out[i] = a[i] * b[i];
  return out;
}

template <class T>
void fwd(const SsimFwd& a) {
  const std::int64_t images = a.render.shape[0], height = a.render.shape[1], width = a.render.shape[2];
  const std::int64_t positions = (height - kBorder) * (width - kBorder);
  std::vector<double> sums(std::size_t(images * 3), 0.0);
#pragma omp parallel for
  for (std::int64_t plane = 0; plane < images * 3; ++plane) {
    const std::int64_t m = plane / 3;
    const int c = int(plane % 3);
    Plane x, y;
    load<T>(a.render, a.target, a.masked, m, c, x, y);
    const Plane bx = blur(x, height, width), by = blur(y, height, width), bxx = blur(product(x, x), height, width),
                byy = blur(product(y, y), height, width), bxy = blur(product(x, y), height, width);
    for (std::int64_t q = 0; q < positions; ++q) {
      const std::size_t i = std::size_t(q);
      const double mx = bx[i], my = by[i], vx = bxx[i] - mx * mx, vy = byy[i] - my * my, vxy = bxy[i] - mx * my;
      const double a1 = 2 * mx * my + kSsimC1, a2 = 2 * vxy + kSsimC2;
      const double b1 = mx * mx + my * my + kSsimC1, b2 = vx + vy + kSsimC2;
      const double ssim = a1 * a2 / (b1 * b2);
      sums[std::size_t(plane)] += ssim;
      if (!a.maps) continue;
      T* maps = a.maps.as<T>() + (m * positions + q) * 3 + c;
      const std::int64_t step = images * positions * 3;
      maps[0] = T(2 * my * (a2 - a1) / (b1 * b2) + 2 * mx * ssim * (1 / b2 - 1 / b1));
      maps[step] = T(-ssim / b2);
      maps[2 * step] = T(2 * a1 / (b1 * b2));
    }
  }
  double mean = 0;
  for (double s : sums) mean += s;
  mean /= double(images * 3 * positions);
  a.ssim.as<T>()[0] = T(mean);
  a.loss.as<T>()[0] = T(1 - (a.clamp ? std::clamp(mean, 0.0, 1.0) : mean));
}

template <class T>
void bwd(const SsimBwd& a) {
  const std::int64_t images = a.render.shape[0], height = a.render.shape[1], width = a.render.shape[2];
  const std::int64_t positions = (height - kBorder) * (width - kBorder), ct = a.target.shape[3];
  const double ssim = a.ssim.as<T>()[0];
  const double factor = a.clamp && (ssim < 0 || ssim > 1) ? 0 : -a.weight / double(images * 3 * positions);
#pragma omp parallel for
  for (std::int64_t plane = 0; plane < images * 3; ++plane) {
    const std::int64_t m = plane / 3;
    const int c = int(plane % 3);
    Plane x, y, d[3];
    load<T>(a.render, a.target, a.masked, m, c, x, y);
    for (int k = 0; k < 3; ++k) {
      Plane map(static_cast<std::size_t>(positions));
      const T* values = a.maps.as<T>() + ((k * images + m) * positions) * 3 + c;
      for (std::int64_t q = 0; q < positions; ++q) map[std::size_t(q)] = double(values[q * 3]);
      d[k] = spread(map, height, width);
    }
    const float* target = a.target.as<float>() + m * height * width * ct;
    T* drender = a.drender.as<T>() + m * height * width * 3 + c;
    for (std::int64_t p = 0; p < height * width; ++p) {
      const std::size_t i = std::size_t(p);
      const bool hidden = a.masked && !(target[p * ct + 3] > 0.5f);
      grad_write(drender[p * 3], hidden ? 0.0 : factor * (d[0][i] + 2 * x[i] * d[1][i] + y[i] * d[2][i]), a.drender_mode);
    }
  }
}

}  // namespace

void ssim_fwd(const SsimFwd& a) { a.render.dtype == DType::f64 ? fwd<double>(a) : fwd<float>(a); }
void ssim_bwd(const SsimBwd& a) { a.render.dtype == DType::f64 ? bwd<double>(a) : bwd<float>(a); }

}  // namespace mfl::cpu
