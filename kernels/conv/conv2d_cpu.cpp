#include <algorithm>
#include <vector>

#include "kernels/common/dispatch.h"
#include "kernels/common/grad_write.h"
#include "kernels/conv/conv2d.h"

namespace mfl::cpu {
namespace {

// Both directions are one sum: out[n, h, w, c] = start[c] + sum_{kh, kw, k} in[n, at(h, kh), at(w, kw), k] m[kh, kw, k, c],
// where `at` gives the index that a tap reads, or -1. The products add up in f64, in this order. kChannels channels of
// kPixels neighbours are summed together, so that the inner loop is contiguous and keeps its sums in registers; m holds
// the weights of such a block of channels together: [channels / kChannels, kh, kw, k, kChannels].
constexpr int kPixels = 4, kChannels = 8;

struct Extent {
  std::int64_t images, height, width, channels;
};

template <class T, class At, class Write>
void sum_taps(const T* in, Extent from, Extent to, std::int64_t kernel_h, std::int64_t kernel_w,
              const std::vector<double>& m, At at_h, At at_w, Write write) {
#pragma omp parallel for collapse(2) schedule(dynamic)
  for (std::int64_t n = 0; n < to.images; ++n)
    for (std::int64_t h = 0; h < to.height; ++h) {
      // The pixels of this row's taps, widened; a tap outside reads a zero pixel.
      const std::vector<double> zero(std::size_t(from.channels), 0.0);
      std::vector<std::vector<double>> rows(static_cast<std::size_t>(kernel_h));
      for (std::int64_t kh = 0; kh < kernel_h; ++kh) {
        const std::int64_t row = at_h(h, kh);
        if (row < 0) continue;
        const T* source = in + (n * from.height + row) * from.width * from.channels;
        rows[std::size_t(kh)].assign(source, source + from.width * from.channels);
      }
      for (std::int64_t c = 0; c < to.channels; c += kChannels)
        for (std::int64_t w = 0; w < to.width; w += kPixels) {
          double sum[kPixels][kChannels] = {};
          for (std::int64_t kh = 0; kh < kernel_h; ++kh) {
            if (rows[std::size_t(kh)].empty()) continue;
            for (std::int64_t kw = 0; kw < kernel_w; ++kw) {
              const double* pixel[kPixels];
              for (int p = 0; p < kPixels; ++p) {
                const std::int64_t column = w + p < to.width ? at_w(w + p, kw) : -1;
                pixel[p] = column < 0 ? zero.data() : rows[std::size_t(kh)].data() + column * from.channels;
              }
              const double* tap = m.data() + (c * kernel_h * kernel_w + (kh * kernel_w + kw) * kChannels) * from.channels;
              for (std::int64_t k = 0; k < from.channels; ++k, tap += kChannels)
                for (int p = 0; p < kPixels; ++p) {
                  const double v = pixel[p][k];
                  for (int j = 0; j < kChannels; ++j) sum[p][j] += v * tap[j];
                }
            }
          }
          for (int p = 0; p < kPixels && w + p < to.width; ++p)
            for (int j = 0; j < kChannels && c + j < to.channels; ++j)
              write(((n * to.height + h) * to.width + w + p) * to.channels + c + j, c + j, sum[p][j]);
        }
    }
}

// The index of a tap's element along one axis.
struct Tap {
  std::int64_t size;
  int stride, pad;
  bool transposed;
  std::int64_t operator()(std::int64_t out, std::int64_t k) const {
    if (!transposed) {
      const std::int64_t i = out * stride + k - pad;
      return i >= 0 && i < size ? i : -1;
    }
    const std::int64_t i = out + pad - k;
    return i >= 0 && i % stride == 0 && i / stride < size ? i / stride : -1;
  }
};

// weight [O, KH, KW, I] as the m of sum_taps, in f64: k counts I (forward) or O (transposed), channels the other. The last
// block is padded with zeros.
template <class T>
std::vector<double> matrix(const ConstView& weight, bool transposed) {
  const std::int64_t out = weight.shape[0], taps = weight.shape[1] * weight.shape[2], in = weight.shape[3];
  const std::int64_t inner = transposed ? out : in, channels = transposed ? in : out;
  const std::int64_t blocks = (channels + kChannels - 1) / kChannels;
  const T* w = weight.as<T>();
  std::vector<double> m(std::size_t(blocks * taps * inner * kChannels), 0.0);
#pragma omp parallel for collapse(2)
  for (std::int64_t block = 0; block < blocks; ++block)
    for (std::int64_t t = 0; t < taps; ++t)
      for (std::int64_t k = 0; k < inner; ++k)
        for (std::int64_t c = block * kChannels; c < std::min((block + 1) * kChannels, channels); ++c)
          m[std::size_t(((block * taps + t) * inner + k) * kChannels + c % kChannels)] =
              double(transposed ? w[(k * taps + t) * in + c] : w[(c * taps + t) * in + k]);
  return m;
}

Extent extent(const Shape& s) { return {s[0], s[1], s[2], s[3]}; }

template <class T>
void fwd(const Conv2dFwd& a) {
  const T* bias = a.bias ? a.bias.as<T>() : nullptr;
  T* y = a.y.as<T>();
  sum_taps(a.x.as<T>(), extent(a.x.shape), extent(a.y.shape), a.weight.shape[1], a.weight.shape[2], matrix<T>(a.weight, false),
           Tap{a.x.shape[1], a.stride, a.pad, false}, Tap{a.x.shape[2], a.stride, a.pad, false},
           [&](std::int64_t i, std::int64_t o, double sum) {
             const double v = sum + (bias ? double(bias[o]) : 0.0);
             y[i] = T(a.relu && v <= 0 ? 0.0 : v);
           });
}

template <class T>
void bwd_input(const Conv2dBwdInput& a) {
  const T* dz = a.dy.as<T>();
  std::vector<T> masked;
  if (a.y) {
    const T* y = a.y.as<T>();
    masked.resize(std::size_t(a.dy.numel()));
    for (std::size_t i = 0; i < masked.size(); ++i) masked[i] = double(y[i]) > 0 ? dz[i] : T(0.0);
    dz = masked.data();
  }
  T* dx = a.dx.as<T>();
  sum_taps(dz, extent(a.dy.shape), extent(a.dx.shape), a.weight.shape[1], a.weight.shape[2], matrix<T>(a.weight, true),
           Tap{a.dy.shape[1], a.stride, a.pad, true}, Tap{a.dy.shape[2], a.stride, a.pad, true},
           [&](std::int64_t i, std::int64_t, double sum) { grad_write(dx[i], sum, a.dx_mode); });
}

// A tile of kOutputs rows of dweight at a time: each pixel of x is read once for all of them.
template <class T, class A>
void bwd_weight(const Conv2dBwdWeight& a) {
  constexpr std::int64_t kOutputs = 4;
  const Extent in = extent(a.x.shape), out = extent(a.dy.shape);
  const std::int64_t kernel_h = a.dweight.shape[1], kernel_w = a.dweight.shape[2], taps = kernel_h * kernel_w;
  const std::int64_t row = taps * in.channels, blocks = (out.channels + kOutputs - 1) / kOutputs;
  const Tap at_h{in.height, a.stride, a.pad, false}, at_w{in.width, a.stride, a.pad, false};
  const T *dy = a.dy.as<T>(), *x_stored = a.x.as<T>();
  const std::vector<double> x(x_stored, x_stored + a.x.numel());
  A* dweight = a.dweight.as<A>();
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t block = 0; block < blocks; ++block) {
    const std::int64_t first = block * kOutputs, count = std::min(kOutputs, out.channels - first);
    std::vector<double> sum(std::size_t(kOutputs * row), 0.0);
    double bias[kOutputs] = {};
    for (std::int64_t n = 0; n < out.images; ++n)
      for (std::int64_t h = 0; h < out.height; ++h)
        for (std::int64_t w = 0; w < out.width; ++w) {
          double d[kOutputs] = {};
          for (std::int64_t o = 0; o < count; ++o) {
            d[o] = double(dy[((n * out.height + h) * out.width + w) * out.channels + first + o]);
            bias[o] += d[o];
          }
          for (std::int64_t kh = 0; kh < kernel_h; ++kh)
            for (std::int64_t kw = 0; kw < kernel_w; ++kw) {
              const std::int64_t y = at_h(h, kh), z = at_w(w, kw);
              if (y < 0 || z < 0) continue;
              const double* pixel = x.data() + ((n * in.height + y) * in.width + z) * in.channels;
              double* to = sum.data() + (kh * kernel_w + kw) * in.channels;
              for (std::int64_t i = 0; i < in.channels; ++i) {
                to[i] += d[0] * pixel[i];
                to[row + i] += d[1] * pixel[i];
                to[2 * row + i] += d[2] * pixel[i];
                to[3 * row + i] += d[3] * pixel[i];
              }
            }
        }
    for (std::int64_t o = 0; o < count; ++o) {
      for (std::int64_t i = 0; i < row; ++i)
        grad_write(dweight[(first + o) * row + i], double(T(sum[std::size_t(o * row + i)])), a.dw_mode);
      if (a.dbias) grad_write(a.dbias.as<A>()[first + o], bias[o], a.dw_mode);
    }
  }
}

}  // namespace

void conv2d_pack(const Conv2dPack& a) {
  const std::int64_t out = a.weight.shape[0], in = a.weight.shape[1], taps = a.weight.shape[2] * a.weight.shape[3];
  dispatch_float(a.weight.dtype, [&](auto i) {
    dispatch_float(a.packed.dtype, [&](auto p) {
      using W = decltype(i);
      using P = decltype(p);
      const W* weight = a.weight.as<W>();
      P* packed = a.packed.as<P>();
#pragma omp parallel for
      for (std::int64_t o = 0; o < out; ++o)
        for (std::int64_t t = 0; t < taps; ++t)
          for (std::int64_t c = 0; c < in; ++c) packed[(o * taps + t) * in + c] = P(double(weight[(o * in + c) * taps + t]));
    });
  });
}

void conv2d_fwd(const Conv2dFwd& a) {
  dispatch_float(a.x.dtype, [&](auto t) { fwd<decltype(t)>(a); });
}
void conv2d_bwd_input(const Conv2dBwdInput& a) {
  dispatch_float(a.weight.dtype, [&](auto t) { bwd_input<decltype(t)>(a); });
}

void conv2d_bwd_weight(const Conv2dBwdWeight& a) {
  if (a.x.dtype == DType::f64) return bwd_weight<double, double>(a);
  dispatch_float(a.x.dtype, [&](auto t) { bwd_weight<decltype(t), float>(a); });
}

}  // namespace mfl::cpu
