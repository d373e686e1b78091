#include "tests/support/compare.h"

#include <algorithm>
#include <cmath>

namespace mfl::test {

double relative_l2(std::span<const double> out, std::span<const double> ref) {
  double d = 0, n = 0;
  for (std::size_t i = 0; i < ref.size(); ++i) d += (out[i] - ref[i]) * (out[i] - ref[i]), n += ref[i] * ref[i];
  return std::sqrt(d) / std::max(std::sqrt(n), 1e-300);
}

double cosine(std::span<const double> a, std::span<const double> b) {
  double ab = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) ab += a[i] * b[i], aa += a[i] * a[i], bb += b[i] * b[i];
  if (aa == 0 && bb == 0) return 1;
  return ab / std::max(std::sqrt(aa) * std::sqrt(bb), 1e-300);
}

double max_abs(std::span<const double> v) {
  double m = 0;
  for (double x : v) m = std::isnan(x) ? x : std::max(m, std::abs(x));
  return m;
}

double max_abs_difference(std::span<const double> a, std::span<const double> b) {
  double m = 0;
  for (std::size_t i = 0; i < a.size(); ++i) m = std::max(m, std::abs(a[i] - b[i]));
  return m;
}

double epsilon(DType t) {
  switch (t) {
    case DType::f64: return 0x1p-52;
    case DType::f32: return 0x1p-23;
    case DType::bf16: return 0x1p-7;
    default: return 0;
  }
}

::testing::AssertionResult within_parity(const std::string& what, std::span<const double> out, std::span<const double> plain,
                                         std::span<const double> ref, Parity rule) {
  const double scale = max_abs(ref);
  const double bound = 2 * max_abs_difference(plain, ref) + 2 * epsilon(rule.dtype) * scale +
                       4 * epsilon(DType::f32) * std::sqrt(rule.terms) * scale;
  std::size_t outside = 0, first = 0;
  double worst = 0;
  for (std::size_t i = 0; i < ref.size(); ++i) {
    const double e = std::abs(out[i] - ref[i]);
    if (e <= bound) continue;  // NaN is outside
    if (outside++ == 0) first = i;
    worst = std::isnan(e) ? e : std::max(worst, e);
  }
  if (double(outside) <= rule.flips * double(ref.size())) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << what << ": " << outside << " of " << ref.size() << " elements differ by more than "
                                       << bound << " (worst " << worst << "; first at " << first << ": " << out[first]
                                       << " instead of " << ref[first] << "; largest value " << scale << ")";
}

::testing::AssertionResult same_direction(const std::string& what, std::span<const double> out, std::span<const double> ref,
                                          double relative, double min_cosine) {
  const double r = relative_l2(out, ref), c = cosine(out, ref);
  if (max_abs(ref) == 0 && max_abs(out) == 0) return ::testing::AssertionSuccess();
  if (r <= relative && c >= min_cosine) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << what << ": relative L2 " << r << " (at most " << relative << "), cosine " << c
                                       << " (at least " << min_cosine << ')';
}

}  // namespace mfl::test
