#include "kernels/elementwise/mix.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void mix(const Stream& s, const Mix& a) {
  MFL_CHECK(a.y && a.y.shape.rank() >= 1, "mix: y is missing");
  MFL_CHECK(a.weights && a.weights.shape.rank() == 2 && a.weights.shape[1] >= 1 && a.weights.shape[1] <= kMixTerms,
            "mix: weights ", a.weights.shape, ", expected [N, K] with K at most ", kMixTerms);
  const std::int64_t rows = a.weights.shape[0], terms = a.weights.shape[1];
  MFL_CHECK(rows == 1 || rows == a.y.shape[0], "mix: weights ", a.weights.shape, " for y ", a.y.shape,
            ", expected one row, or one for every sample");
  check(s, "mix", "weights", a.weights, a.weights.shape, accum_of(a.y.dtype));
  check(s, "mix", "y", a.y, a.y.shape, a.y.dtype);
  for (int k = 0; k < kMixTerms; ++k) {
    const ConstView& x = a.x[static_cast<std::size_t>(k)];
    if (k >= terms) {
      MFL_CHECK(!x, "mix: ", terms, " weights a sample, but x[", k, "] is given too");
      continue;
    }
    check(s, "mix", "x", x, a.y.shape, x.dtype);
  }
  MFL_DISPATCH(s, mix, a);
}

}  // namespace mfl
