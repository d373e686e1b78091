#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/attention/softmax.h"
#include "kernels/common/dispatch.h"

namespace mfl::cpu {
namespace {

template <class X, class Y>
void fwd(const SoftmaxFwd& a) {
  const std::int64_t rows = a.x.shape.rows(), columns = a.x.shape[-1];
  const X* x = a.x.as<X>();
  Y* y = a.y.as<Y>();
#pragma omp parallel
  {
    std::vector<double> row(static_cast<std::size_t>(columns));
#pragma omp for
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < columns; ++c) row[std::size_t(c)] = a.scale * double(x[r * columns + c]);
      const double top = *std::max_element(row.begin(), row.end());
      double sum = 0;
      for (double& v : row) sum += v = std::exp(v - top);
      for (std::int64_t c = 0; c < columns; ++c) y[r * columns + c] = Y(row[std::size_t(c)] / sum);
    }
  }
}

}  // namespace

void softmax_fwd(const SoftmaxFwd& a) {
  dispatch_float(a.x.dtype, [&](auto x) { dispatch_float(a.y.dtype, [&](auto y) { fwd<decltype(x), decltype(y)>(a); }); });
}

}  // namespace mfl::cpu
