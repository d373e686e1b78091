#include <algorithm>
#include <vector>

#include "kernels/common/dispatch.h"
#include "kernels/common/grad_write.h"
#include "kernels/gemm/linear.h"

namespace mfl::cpu {
namespace {

// A matrix of another type and layout: element (i, j) at data[i * row + j * col].
template <class T>
struct Strided {
  const T* data;
  std::int64_t row, col;
  double operator()(std::int64_t i, std::int64_t j) const { return double(data[i * row + j * col]); }
};

// store(m, n, sum_k a(m, k) b(k, n)), each sum in f64 and in the order of k.
// Columns go in panels of kCols that are packed as f64; a tile of kRows x kCols sums stays in registers.
template <class T, class Store>
void product(std::int64_t rows, std::int64_t cols, std::int64_t depth, Strided<T> a, Strided<T> b, Store&& store) {
  constexpr std::int64_t kRows = 4, kCols = 8;
  const std::int64_t panels = (cols + kCols - 1) / kCols, strips = (rows + kRows - 1) / kRows;
  std::vector<double> packed(std::size_t(panels * depth * kCols));
#pragma omp parallel
  {
#pragma omp for
    for (std::int64_t p = 0; p < panels; ++p)
      for (std::int64_t k = 0; k < depth; ++k)
        for (std::int64_t j = 0; j < kCols; ++j)
          packed[std::size_t((p * depth + k) * kCols + j)] = p * kCols + j < cols ? b(k, p * kCols + j) : 0.0;
    std::vector<double> strip(std::size_t(depth * kRows));
#pragma omp for
    for (std::int64_t m = 0; m < strips; ++m) {
      for (std::int64_t i = 0; i < kRows; ++i)
        for (std::int64_t k = 0; k < depth; ++k)
          strip[std::size_t(k * kRows + i)] = m * kRows + i < rows ? a(m * kRows + i, k) : 0.0;
      for (std::int64_t p = 0; p < panels; ++p) {
        double sum[kRows][kCols] = {};
        const double *x = strip.data(), *w = packed.data() + p * depth * kCols;
        for (std::int64_t k = 0; k < depth; ++k, x += kRows, w += kCols)
#pragma GCC unroll 4
          for (std::int64_t i = 0; i < kRows; ++i)
#pragma GCC unroll 8
            for (std::int64_t j = 0; j < kCols; ++j) sum[i][j] += x[i] * w[j];
        for (std::int64_t i = 0; i < std::min(kRows, rows - m * kRows); ++i)
          for (std::int64_t j = 0; j < std::min(kCols, cols - p * kCols); ++j)
            store(m * kRows + i, p * kCols + j, sum[i][j]);
      }
    }
  }
}

}  // namespace

void linear_fwd(const LinearFwd& a) {
  dispatch_float(a.x.dtype, [&](auto t) {
    dispatch_float(a.y.dtype, [&](auto u) {
      using T = decltype(t);
      using Y = decltype(u);
      const std::int64_t rows = a.x.shape.rows(), k = a.x.shape[-1], n = a.weight.shape[0];
      Y* y = a.y.as<Y>();
      std::vector<double> bias(std::size_t(n), 0.0);
      if (a.bias)
        dispatch_float(a.bias.dtype, [&](auto v) {
          for (std::int64_t j = 0; j < n; ++j) bias[std::size_t(j)] = double(a.bias.as<decltype(v)>()[j]);
        });
      product<T>(rows, n, k, {a.x.as<T>(), k, 1}, {a.weight.as<T>(), 1, k},
                 [&](std::int64_t r, std::int64_t j, double sum) {
                   Y& slot = y[r * n + j];
                   slot = Y(sum + bias[std::size_t(j)] + (a.add ? double(slot) : 0.0));
                 });
    });
  });
}

void linear_bwd_input(const LinearBwdInput& a) {
  dispatch_float(a.dy.dtype, [&](auto t) {
    dispatch_float(a.dx.dtype, [&](auto u) {
      using T = decltype(t);
      using X = decltype(u);
      const std::int64_t rows = a.dy.shape.rows(), n = a.dy.shape[-1], k = a.weight.shape[1];
      X* dx = a.dx.as<X>();
      product<T>(rows, k, n, {a.dy.as<T>(), n, 1}, {a.weight.as<T>(), k, 1},
                 [&](std::int64_t r, std::int64_t j, double sum) { grad_write(dx[r * k + j], sum, a.dx_mode); });
    });
  });
}

void linear_bwd_weight(const LinearBwdWeight& a) {
  dispatch_float(a.x.dtype, [&](auto t) {
    dispatch_float(a.dweight.dtype, [&](auto u) {
      using T = decltype(t);
      using W = decltype(u);
      const std::int64_t rows = a.x.shape.rows(), k = a.x.shape[-1], n = a.dy.shape[-1];
      const T* dy = a.dy.as<T>();
      W* dweight = a.dweight.as<W>();
      product<T>(n, k, rows, {dy, 1, n}, {a.x.as<T>(), k, 1},
                 [&](std::int64_t i, std::int64_t j, double sum) { grad_write(dweight[i * k + j], sum, a.dw_mode); });
      if (!a.dbias) return;
      std::vector<double> sum(std::size_t(n), 0.0);
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t j = 0; j < n; ++j) sum[std::size_t(j)] += double(dy[r * n + j]);
      for (std::int64_t j = 0; j < n; ++j) grad_write(a.dbias.as<W>()[j], sum[std::size_t(j)], a.dw_mode);
    });
  });
}

}  // namespace mfl::cpu
