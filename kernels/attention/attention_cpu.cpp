#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/common/dispatch.h"

namespace mfl::cpu {
namespace {

// One operand of every head in f64: rows [B, A, T, D], or columns [B, A, D, T] so that a loop over T is contiguous.
struct Rows {
  std::int64_t heads, length, size;
  std::vector<double> values;
  template <class T>
  static Rows of(const ConstView& v, bool columns) {
    const std::int64_t batch = v.shape[0], length = v.shape[1], heads = v.shape[2], size = v.shape[3];
    Rows r{heads, length, size, std::vector<double>(std::size_t(v.numel()))};
    const T* x = v.as<T>();
#pragma omp parallel for collapse(2)
    for (std::int64_t b = 0; b < batch; ++b)
      for (std::int64_t h = 0; h < heads; ++h) {
        double* to = r.values.data() + (b * heads + h) * length * size;
        for (std::int64_t t = 0; t < length; ++t)
          for (std::int64_t d = 0; d < size; ++d)
            to[columns ? d * length + t : t * size + d] =
                double(x[b * v.stride[0] + t * v.stride[1] + h * v.stride[2] + d]);
      }
    return r;
  }
  const double* head(std::int64_t bh) const { return values.data() + bh * length * size; }
};

// out[t] = sum_d x[d] columns[d][t]
void dot_columns(const double* x, const double* columns, std::int64_t size, std::int64_t length, double* out) {
  std::fill(out, out + length, 0.0);
  for (std::int64_t d = 0; d < size; ++d)
    for (std::int64_t t = 0; t < length; ++t) out[t] += x[d] * columns[d * length + t];
}

// out[d] = sum_t w[t] rows[t][d]
void weigh_rows(const double* w, const double* rows, std::int64_t length, std::int64_t size, double* out) {
  std::fill(out, out + size, 0.0);
  for (std::int64_t t = 0; t < length; ++t)
    for (std::int64_t d = 0; d < size; ++d) out[d] += w[t] * rows[t * size + d];
}

template <class T>
void store(const View& v, std::int64_t bh, std::int64_t t, const double* x, double factor) {
  const std::int64_t b = bh / v.shape[2], h = bh % v.shape[2];
  T* to = v.as<T>() + b * v.stride[0] + t * v.stride[1] + h * v.stride[2];
  for (std::int64_t d = 0; d < v.shape[3]; ++d) to[d] = T(factor * x[d]);
}

double scale_of(float scale, std::int64_t size) { return scale != 0 ? double(scale) : 1 / std::sqrt(double(size)); }

template <class T, class A>
void fwd(const AttentionFwd& a) {
  const std::int64_t pairs = a.q.shape[0] * a.q.shape[2], queries = a.q.shape[1], keys = a.k.shape[1],
                     size = a.q.shape[3];
  const double scale = scale_of(a.scale, size);
  const Rows q = Rows::of<T>(a.q, false), k = Rows::of<T>(a.k, true), v = Rows::of<T>(a.v, false);
#pragma omp parallel
  {
    std::vector<double> p(std::size_t(keys), 0.0), y(std::size_t(size), 0.0);
#pragma omp for collapse(2)
    for (std::int64_t bh = 0; bh < pairs; ++bh)
      for (std::int64_t i = 0; i < queries; ++i) {
        dot_columns(q.head(bh) + i * size, k.head(bh), size, keys, p.data());
        double top = -std::numeric_limits<double>::infinity(), sum = 0;
        for (std::int64_t j = 0; j < keys; ++j) top = std::max(top, scale * p[j]);
        for (std::int64_t j = 0; j < keys; ++j) sum += p[j] = std::exp(scale * p[j] - top);
        weigh_rows(p.data(), v.head(bh), keys, size, y.data());
        store<T>(a.y, bh, i, y.data(), 1 / sum);
        if (a.lse) a.lse.as<A>()[bh * queries + i] = A(top + std::log(sum));
      }
  }
}

template <class T, class A>
void bwd(const AttentionBwd& a) {
  const std::int64_t pairs = a.q.shape[0] * a.q.shape[2], queries = a.q.shape[1], keys = a.k.shape[1],
                     size = a.q.shape[3];
  const double scale = scale_of(a.scale, size);
  const Rows q = Rows::of<T>(a.q, false), k = Rows::of<T>(a.k, false), v = Rows::of<T>(a.v, false);
  const Rows y = Rows::of<T>(a.y, false), dy = Rows::of<T>(a.dy, false);
  const A* lse = a.lse.as<A>();
  std::vector<double> delta(std::size_t(pairs * queries), 0.0);
  for (std::int64_t r = 0; r < pairs * queries; ++r)
    for (std::int64_t d = 0; d < size; ++d) delta[r] += dy.values[r * size + d] * y.values[r * size + d];

  {  // one query at a time: dq
    const Rows kt = Rows::of<T>(a.k, true), vt = Rows::of<T>(a.v, true);
#pragma omp parallel
    {
      std::vector<double> s(std::size_t(keys), 0.0), dp(std::size_t(keys), 0.0), dq(std::size_t(size), 0.0);
#pragma omp for collapse(2)
      for (std::int64_t bh = 0; bh < pairs; ++bh)
        for (std::int64_t i = 0; i < queries; ++i) {
          const std::int64_t r = bh * queries + i;
          dot_columns(q.head(bh) + i * size, kt.head(bh), size, keys, s.data());
          dot_columns(dy.head(bh) + i * size, vt.head(bh), size, keys, dp.data());
          for (std::int64_t j = 0; j < keys; ++j) s[j] = std::exp(scale * s[j] - double(lse[r])) * (dp[j] - delta[r]);
          weigh_rows(s.data(), k.head(bh), keys, size, dq.data());
          store<T>(a.dq, bh, i, dq.data(), scale);
        }
    }
  }
  {  // one key at a time: dk and dv
    const Rows qt = Rows::of<T>(a.q, true), dyt = Rows::of<T>(a.dy, true);
#pragma omp parallel
    {
      std::vector<double> p(std::size_t(queries), 0.0), ds(std::size_t(queries), 0.0), out(std::size_t(size), 0.0);
#pragma omp for collapse(2)
      for (std::int64_t bh = 0; bh < pairs; ++bh)
        for (std::int64_t j = 0; j < keys; ++j) {
          const std::int64_t r = bh * queries;
          dot_columns(k.head(bh) + j * size, qt.head(bh), size, queries, p.data());
          dot_columns(v.head(bh) + j * size, dyt.head(bh), size, queries, ds.data());
          for (std::int64_t i = 0; i < queries; ++i) {
            p[i] = std::exp(scale * p[i] - double(lse[r + i]));
            ds[i] = p[i] * (ds[i] - delta[r + i]);
          }
          weigh_rows(p.data(), dy.head(bh), queries, size, out.data());
          store<T>(a.dv, bh, j, out.data(), 1);
          weigh_rows(ds.data(), q.head(bh), queries, size, out.data());
          store<T>(a.dk, bh, j, out.data(), scale);
        }
    }
  }
}

}  // namespace

void attention_fwd(const AttentionFwd& a) {
  if (a.q.dtype == DType::f64) return fwd<double, double>(a);
  dispatch_float(a.q.dtype, [&](auto t) { fwd<decltype(t), float>(a); });
}
void attention_bwd(const AttentionBwd& a) {
  if (a.q.dtype == DType::f64) return bwd<double, double>(a);
  dispatch_float(a.q.dtype, [&](auto t) { bwd<decltype(t), float>(a); });
}

}  // namespace mfl::cpu
