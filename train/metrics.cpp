#include "train/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace mfl {
namespace {

// One view of both sides.
struct View2 {
  const float *render, *target;
  std::int64_t height, width, channels;   // of the target
  std::int64_t pixels() const { return height * width; }
  bool has_alpha() const { return channels == 4; }
  bool foreground(std::int64_t p) const { return target[p * 4 + 3] > 0.5f; }
};

View2 view_of(const char* metric, const Tensor& render, const Tensor& target, std::int64_t view) {
  const Shape &r = render.shape(), &t = target.shape();
  MFL_CHECK(r.rank() == 4 && r[3] == 3, metric, ": render ", r, ", expected [V, H, W, 3]");
  MFL_CHECK(t.rank() == 4 && t[0] == r[0] && t[1] == r[1] && t[2] == r[2] && (t[3] == 3 || t[3] == 4), metric, ": target ", t,
            " for a render ", r);
  MFL_CHECK(view >= 0 && view < r[0], metric, ": view ", view, " of ", r[0]);
  return {render.data<float>() + view * r[1] * r[2] * 3, target.data<float>() + view * t[1] * t[2] * t[3], r[1], r[2], t[3]};
}

double squared_error(const View2& v, std::int64_t p) {
  double sum = 0;
  for (int c = 0; c < 3; ++c) {
    const double a = std::clamp(double(v.render[p * 3 + c]), 0.0, 1.0);
    const double b = std::clamp(double(v.target[p * v.channels + c]), 0.0, 1.0);
    sum += (a - b) * (a - b);
  }
  return sum;
}

double decibels(double mse) { return -10 * std::log10(mse); }

constexpr int kTaps = 11;

std::array<double, kTaps> window() {
  std::array<double, kTaps> w;
  double sum = 0;
  for (int k = 0; k < kTaps; ++k) sum += w[std::size_t(k)] = std::exp(-double((k - 5) * (k - 5)) / (2 * 1.5 * 1.5));
  for (double& x : w) x /= sum;
  return w;
}

// Separable blur, valid positions only.
std::vector<double> blur(const std::vector<double>& in, std::int64_t height, std::int64_t width) {
  static const auto win = window();
  const std::int64_t h_out = height - kTaps + 1, w_out = width - kTaps + 1;
  std::vector<double> rows(std::size_t(height * w_out), 0.0), out(std::size_t(h_out * w_out), 0.0);
  for (std::int64_t h = 0; h < height; ++h)
    for (int k = 0; k < kTaps; ++k)
      for (std::int64_t w = 0; w < w_out; ++w)
        rows[std::size_t(h * w_out + w)] += win[std::size_t(k)] * in[std::size_t(h * width + w + k)];
  for (std::int64_t h = 0; h < h_out; ++h)
    for (int k = 0; k < kTaps; ++k)
      for (std::int64_t w = 0; w < w_out; ++w)
        out[std::size_t(h * w_out + w)] += win[std::size_t(k)] * rows[std::size_t((h + k) * w_out + w)];
  return out;
}

void check_window(const View2& v) {
  MFL_CHECK(v.height >= kTaps && v.width >= kTaps, "metric_ssim: views of ", v.height, " x ", v.width,
            " pixels are smaller than the ", kTaps, "-tap window");
}

double channel_ssim(const View2& v, int c) {
  constexpr double kCovariance = 121.0 / 120.0, kC1 = 0.01 * 0.01, kC2 = 0.03 * 0.03;
  const std::size_t n = std::size_t(v.pixels());
  std::vector<double> x(n), y(n), xx(n), yy(n), xy(n);
  for (std::size_t p = 0; p < n; ++p) {
    x[p] = double(v.render[std::int64_t(p) * 3 + c]);
    y[p] = double(v.target[std::int64_t(p) * v.channels + c]);
    xx[p] = x[p] * x[p], yy[p] = y[p] * y[p], xy[p] = x[p] * y[p];
  }
  x = blur(x, v.height, v.width), y = blur(y, v.height, v.width), xx = blur(xx, v.height, v.width);
  yy = blur(yy, v.height, v.width), xy = blur(xy, v.height, v.width);
  double sum = 0;
  for (std::size_t q = 0; q < x.size(); ++q) {
    const double vx = kCovariance * (xx[q] - x[q] * x[q]), vy = kCovariance * (yy[q] - y[q] * y[q]),
                 vxy = kCovariance * (xy[q] - x[q] * y[q]);
    sum += (2 * x[q] * y[q] + kC1) * (2 * vxy + kC2) / ((x[q] * x[q] + y[q] * y[q] + kC1) * (vx + vy + kC2));
  }
  return sum / double(x.size());
}

}  // namespace

double psnr(const Tensor& render, const Tensor& target, std::int64_t view) {
  const View2 v = view_of("psnr", render, target, view);
  double sum = 0;
  for (std::int64_t p = 0; p < v.pixels(); ++p) sum += squared_error(v, p);
  return decibels(sum / double(3 * v.pixels()));
}

std::optional<double> foreground_psnr(const Tensor& render, const Tensor& target, std::int64_t view) {
  const View2 v = view_of("foreground_psnr", render, target, view);
  if (!v.has_alpha()) return std::nullopt;
  double sum = 0;
  std::int64_t count = 0;
  for (std::int64_t p = 0; p < v.pixels(); ++p)
    if (v.foreground(p)) sum += squared_error(v, p), ++count;
  if (count == 0) return std::nullopt;
  return decibels(sum / double(3 * count));
}

double metric_ssim(const Tensor& render, const Tensor& target, std::int64_t view) {
  const View2 v = view_of("metric_ssim", render, target, view);
  check_window(v);
  std::array<double, 3> of{};
#pragma omp parallel for
  for (int c = 0; c < 3; ++c) of[std::size_t(c)] = channel_ssim(v, c);
  return (of[0] + of[1] + of[2]) / 3;
}

std::vector<double> lpips_per_view(Ctx& cx, const perceptual::LpipsLoss& lpips, const Tensor& render, const Tensor& target) {
  const std::int64_t views = render.shape()[0];
  Tensor values = cx.accum({views}, {"LPIPS of each view"});
  for (std::int64_t v = 0; v < views; ++v)
    lpips.run(cx, render.rows(v, 1), target.rows(v, 1), 1, slice(values.view(), 0, v, 1));
  Tensor host = Tensor::on_heap({views}, values.dtype());
  copy(cx.stream, values, host);
  cx.stream.synchronize();
  if (values.dtype() == DType::f64) return {host.data<double>(), host.data<double>() + views};
  return {host.data<float>(), host.data<float>() + views};
}

MaskScore mask_score(const Tensor& render, const Tensor& target, const std::array<double, 3>& background, double threshold) {
  std::int64_t both = 0, either = 0, painted = 0, expected = 0;
  bool alpha = false;
  for (std::int64_t n = 0; n < render.shape()[0]; ++n) {
    const View2 v = view_of("mask_score", render, target, n);
    alpha = v.has_alpha();
#pragma omp parallel for reduction(+ : both, either, painted, expected)
    for (std::int64_t p = 0; p < v.pixels(); ++p) {
      double distance = 0;
      for (std::size_t c = 0; c < 3; ++c) distance += std::abs(double(v.render[p * 3 + std::int64_t(c)]) - background[c]);
      const bool a = distance / 3 > threshold, b = alpha && v.foreground(p);
      painted += a, expected += b, both += a && b, either += a || b;
    }
  }
  const double all = double(render.shape().rows());
  return {alpha ? double(both) / double(std::max<std::int64_t>(either, 1)) : 0.0, double(painted) / all,
          double(expected) / all};
}

ViewScores score_views(const Tensor& render, const Tensor& target, const std::array<double, 3>& background, double threshold) {
  const std::int64_t views = render.shape()[0];
  check_window(view_of("metric_ssim", render, target, 0));   // here: nothing may be thrown out of the loops
  ViewScores s;
  s.psnr.resize(std::size_t(views)), s.ssim.resize(std::size_t(views));
  std::vector<std::optional<double>> foreground(static_cast<std::size_t>(views));
  std::vector<double> channels(static_cast<std::size_t>(3 * views));
#pragma omp parallel
  {
#pragma omp for schedule(dynamic) nowait
    for (std::int64_t i = 0; i < 3 * views; ++i)
      channels[std::size_t(i)] = channel_ssim(view_of("metric_ssim", render, target, i / 3), int(i % 3));
#pragma omp for schedule(dynamic)
    for (std::int64_t v = 0; v < views; ++v) {
      s.psnr[std::size_t(v)] = psnr(render, target, v);
      foreground[std::size_t(v)] = foreground_psnr(render, target, v);
    }
  }
  for (std::size_t v = 0; v < std::size_t(views); ++v) {
    s.ssim[v] = (channels[3 * v] + channels[3 * v + 1] + channels[3 * v + 2]) / 3;
    if (foreground[v]) s.foreground_psnr.push_back(*foreground[v]);
  }
  s.mask = mask_score(render, target, background, threshold);
  return s;
}

double mean(const std::vector<double>& values) {
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  double sum = 0;
  for (double v : values) sum += v;
  return sum / double(values.size());
}

double mean_decibels(std::vector<double> views) {
  for (double& x : views) x = std::min(x, 100.0);
  return mean(views);
}

}  // namespace mfl
