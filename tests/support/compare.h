// Comparisons that can fail. Tested themselves in self_test.cpp: a 1 % bias and a single zeroed row must be caught.
#pragma once

#include <gtest/gtest.h>

#include <span>
#include <string>
#include <vector>

#include "runtime/dtype.h"

namespace mfl::test {

double relative_l2(std::span<const double> out, std::span<const double> ref);
double cosine(std::span<const double> a, std::span<const double> b);
double max_abs(std::span<const double> v);
double max_abs_difference(std::span<const double> a, std::span<const double> b);
double epsilon(DType);   // distance from 1 to the next number

// The parity rule. `ref`: the oracle in f64; `plain`: the oracle with every stored value rounded to the dtype under test;
// `out`: the kernel; all on the same inputs, already rounded. Required:
//   max|out - ref| <= 2 max|plain - ref| + 2 ulp(max|ref|) + 4 eps_f32 sqrt(terms) max|ref|
// where the last term is what f32 accumulation over `terms` summands costs (the oracle accumulates in f64).
// At most `flips` (a share of the elements) may lie outside, for kernels with a discontinuity.
struct Parity {
  DType dtype = DType::f32;
  double terms = 1;
  double flips = 0;
};
::testing::AssertionResult within_parity(const std::string& what, std::span<const double> out, std::span<const double> plain,
                                         std::span<const double> ref, Parity);

// For gradients beside the parity rule: a directional error must not hide under an elementwise bound.
::testing::AssertionResult same_direction(const std::string& what, std::span<const double> out, std::span<const double> ref,
                                          double relative, double min_cosine = 0.9999);

}  // namespace mfl::test
