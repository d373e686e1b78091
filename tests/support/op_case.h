// One OpCase per op and shape. From that one description come: the gradient check (f64, CPU), the gradient modes, the
// guarded-write check (f32 and bf16, CPU), parity of CUDA with the oracle, bitwise repeatability on CUDA, and the benchmark.
//
// To add an op: write a function that returns its cases, and name it in MFL_OP_TESTS at the end of the file.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "runtime/context.h"
#include "runtime/rng.h"

namespace mfl::test {

// Type of a slot in a run: `work` is the type under test, `accum` its companion (f64 for f64, else f32), `fixed` does not
// change (integers, images).
enum class Role { work, accum, fixed };

struct Slot {
  std::string name;
  Shape shape;
  Role role = Role::work;
  bool differentiable = true;                // inputs: has a gradient `d<name>`; outputs: has an incoming one
  std::function<double(Rng&)> value = [](Rng& r) { return r.normal(); };   // inputs only
  DType fixed = DType::i32;
};

// One execution. Views by slot name; gradients of inputs and outputs are `d` + name.
class Run {
 public:
  const Stream& stream;
  DType work, accum;
  GradMode mode = GradMode::overwrite;       // for every differentiable input
  View operator[](const std::string& name) const;
  // Scratch of this run, contents undefined.
  View scratch(Shape, DType);

 private:
  friend class Execution;
  Run(const Stream& s, DType w, DType a) : stream(s), work(w), accum(a) {}
  std::map<std::string, View> views_;
  std::vector<Tensor> scratch_;
};

struct OpCase {
  std::string name;                          // letters, digits and underscores
  std::vector<Slot> inputs, outputs;
  std::function<void(Run&)> forward;
  std::function<void(Run&)> backward = {};   // writes d<input> under run.mode from d<output>
  double bytes_fwd = 0, flops_fwd = 0, bytes_bwd = 0, flops_bwd = 0;   // for the benchmark
  double terms = 1;                          // longest sum, for the f32 term of the parity rule
  double flips = 0;                          // share of elements that may cross a discontinuity, parity only
  double gradient_tolerance = 1e-7;          // relative, directional
  double step = 1e-5;                        // of the finite difference
  double gradient_relative = 2e-2;           // relative L2 of CUDA gradients at bf16; f32 uses a hundredth of it
  bool modes = true;                         // gradients honour overwrite, accumulate and ignore
  bool bf16 = true;                          // the op exists in bf16
  bool cuda = true;                          // the op exists on CUDA
  bool bench_only = false;                   // too large for the CPU oracle
};

// The same at a size for the benchmark.
inline OpCase bench_only(OpCase c) {
  c.bench_only = true;
  return c;
}

inline void PrintTo(const OpCase& c, std::ostream* out) { *out << c.name; }

using CaseList = std::function<std::vector<OpCase>()>;
// Every list named by MFL_OP_TESTS in this binary, for the benchmark runner.
std::vector<std::pair<std::string, CaseList>>& registered_cases();

class OpTest : public ::testing::TestWithParam<OpCase> {};
void check_gradient(const OpCase&);          // 4 random directions, f64, CPU
void check_modes(const OpCase&);             // overwrite then accumulate gives exactly twice; ignore touches nothing
void check_guards(const OpCase&, DType);     // CPU; every output element is written, nothing else is
void check_parity(const OpCase&, DType);     // CUDA
void check_repeatable(const OpCase&, DType); // CUDA, bitwise

struct BenchResult {
  double median_ms, p10_ms, p90_ms;
};
BenchResult bench(const OpCase&, DType, Device, bool backward, int repeats);

bool have_cuda();

}  // namespace mfl::test

#define MFL_SKIP_WITHOUT_CUDA() \
  if (!::mfl::test::have_cuda()) GTEST_SKIP() << "no CUDA device"

#define MFL_OP_TESTS(Suite, cases)                                                                           \
  namespace {                                                                                                \
  const bool Suite##_registered = (::mfl::test::registered_cases().emplace_back(#Suite, cases), true);       \
  std::vector<::mfl::test::OpCase> Suite##_testable() {                                                      \
    std::vector<::mfl::test::OpCase> out;                                                                    \
    for (auto& c : cases())                                                                                  \
      if (!c.bench_only) out.push_back(c);                                                                   \
    return out;                                                                                              \
  }                                                                                                          \
  class Suite : public ::mfl::test::OpTest {};                                                               \
  TEST_P(Suite, GradientIsTheDerivative) { ::mfl::test::check_gradient(GetParam()); }                        \
  TEST_P(Suite, GradientModesHold) { ::mfl::test::check_modes(GetParam()); }                                 \
  TEST_P(Suite, WritesAllAndOnlyItsOutputs) {                                                                \
    ::mfl::test::check_guards(GetParam(), ::mfl::DType::f32);                                                \
    if (GetParam().bf16) ::mfl::test::check_guards(GetParam(), ::mfl::DType::bf16);                          \
  }                                                                                                          \
  TEST_P(Suite, CudaMatchesTheOracleF32) {                                                                   \
    MFL_SKIP_WITHOUT_CUDA();                                                                                 \
    if (GetParam().cuda) ::mfl::test::check_parity(GetParam(), ::mfl::DType::f32);                           \
  }                                                                                                          \
  TEST_P(Suite, CudaMatchesTheOracleBf16) {                                                                  \
    MFL_SKIP_WITHOUT_CUDA();                                                                                 \
    if (GetParam().cuda && GetParam().bf16) ::mfl::test::check_parity(GetParam(), ::mfl::DType::bf16);       \
  }                                                                                                          \
  TEST_P(Suite, CudaIsRepeatable) {                                                                          \
    MFL_SKIP_WITHOUT_CUDA();                                                                                 \
    if (GetParam().cuda)                                                                                     \
      ::mfl::test::check_repeatable(GetParam(), GetParam().bf16 ? ::mfl::DType::bf16 : ::mfl::DType::f32);   \
  }                                                                                                          \
  INSTANTIATE_TEST_SUITE_P(Op, Suite, ::testing::ValuesIn(Suite##_testable()),                               \
                           [](const auto& info) { return info.param.name; });                               \
  }
