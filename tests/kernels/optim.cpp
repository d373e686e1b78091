#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "kernels/optim/adamw.h"
#include "kernels/optim/grad_norm.h"
#include "tests/support/op_case.h"

namespace mfl::test {
namespace {

// Segment i is of group i: one that decays, one that does not, two of their own rates.
constexpr std::array<AdamWGroup, kAdamWGroups> kGroups = {{{1, 0.05}, {1, 0}, {2.5, 0.1}, {0.5, 0}}};

// Segments with gaps, as ParamStore lays them out, the second one longer than a chunk.
struct Layout {
  std::vector<ParamSegment> segments;
  std::int64_t flat = 0;
};
Layout layout(std::initializer_list<std::int64_t> counts) {
  Layout l;
  for (std::int64_t n : counts) {
    l.segments.push_back({l.flat, n, std::int64_t(l.segments.size() % kGroups.size())});
    l.flat += (n + 63) / 64 * 64;
  }
  return l;
}

// The table on the run's device. `table` outlives the copy.
View upload(Run& r, const std::vector<std::int64_t>& table) {
  View v = r.scratch({std::int64_t(table.size()) / 4, 4}, DType::i64);
  copy(r.stream, make_view(static_cast<const void*>(table.data()), v.shape, DType::i64), v);
  r.stream.synchronize();
  return v;
}

// Norm, decision and three updates on the same gradient.
OpCase adamw_case(std::string name, Layout l, double max_norm) {
  OpCase c;
  c.name = std::move(name);
  const Shape n{l.flat};
  c.inputs = {{"value", n, Role::accum, false},
              {"grad", n, Role::accum, false},
              {"m", n, Role::accum, false, [](Rng& r) { return 0.1 * r.normal(); }},
              {"v", n, Role::accum, false, [](Rng& r) { return 0.1 + 0.1 * r.uniform(); }}};
  c.outputs = {{"value_out", n, Role::accum, false},
               {"m_out", n, Role::accum, false},
               {"v_out", n, Role::accum, false},
               {"compute", n, Role::work, false}};
  c.forward = [l, max_norm, table = chunk_table(l.segments)](Run& r) {
    const View chunks = upload(r, table), scalars = r.scratch(kStepScalarsShape, DType::u8);
    copy(r.stream, r["value"], r["value_out"]);
    copy(r.stream, r["m"], r["m_out"]);
    copy(r.stream, r["v"], r["v_out"]);
    fill_zero(r.stream, r["compute"]);
    init_scalars(r.stream, {.scalars = scalars, .updates = 5});
    for (int step = 0; step < 3; ++step) {
      set_learning_rate(r.stream, {.scalars = scalars, .learning_rate = 1e-2 * (step + 1)});
      grad_norm(r.stream, {.grad = r["grad"],
                           .chunks = chunks,
                           .partial = r.scratch({chunks.shape[0]}, DType::f64),
                           .scalars = scalars});
      decide_update(r.stream, {.scalars = scalars, .factor = 0.5, .max_norm = max_norm});
      adamw(r.stream, {.value = r["value_out"],
                       .grad = r["grad"],
                       .exp_avg = r["m_out"],
                       .exp_avg_sq = r["v_out"],
                       .compute = r.work == r.accum ? View{} : r["compute"],
                       .chunks = chunks,
                       .scalars = scalars,
                       .groups = kGroups});
    }
    if (r.work == r.accum) copy(r.stream, r["value_out"], r["compute"]);
  };
  c.terms = 16;
  return c;
}

// What ends a step of the full GS-LRM: norm, decision, update, in place. Bytes: the gradient twice; value and moments both ways;
// the copy for compute.
OpCase adamw_of_the_full_model() {
  const Layout l = layout({303'565'824});
  const Shape n{l.flat};
  OpCase c;
  c.name = "N303565824";
  c.inputs = {{"value", n, Role::accum, false}, {"grad", n, Role::accum, false}, {"m", n, Role::accum, false}, {"v", n, Role::accum, false}};
  c.inputs.back().value = [](Rng& r) { return 0.1 + 0.1 * r.uniform(); };
  c.outputs = {{"compute", n, Role::work, false}};
  c.forward = [table = chunk_table(l.segments), held = std::make_shared<std::array<Tensor, 3>>()](Run& r) {
    auto& [chunks, scalars, partial] = *held;
    if (!chunks) {
      chunks = Tensor::on_heap({std::int64_t(table.size()) / 4, 4}, DType::i64, r.stream.device());
      scalars = Tensor::on_heap(kStepScalarsShape, DType::u8, r.stream.device());
      partial = Tensor::on_heap({chunks.shape()[0]}, DType::f64, r.stream.device());
      copy(r.stream, make_view(static_cast<const void*>(table.data()), chunks.shape(), DType::i64), chunks);
      init_scalars(r.stream, {.scalars = scalars});
      set_learning_rate(r.stream, {.scalars = scalars, .learning_rate = 1e-4});
    }
    grad_norm(r.stream, {.grad = r["grad"], .chunks = chunks, .partial = partial, .scalars = scalars});
    decide_update(r.stream, {.scalars = scalars, .max_norm = 1.0});
    adamw(r.stream, {.value = r["value"], .grad = r["grad"], .exp_avg = r["m"], .exp_avg_sq = r["v"],
                     .compute = r.work == r.accum ? View{} : r["compute"], .chunks = chunks, .scalars = scalars, .groups = kGroups});
  };
  c.bytes_fwd = double(l.flat) * 34;
  return bench_only(c);
}

std::vector<OpCase> adamw_cases() {
  return {adamw_case("one_element", layout({1}), 0), adamw_case("gaps", layout({5, 33, 64, 127}), 1.0),
          adamw_case("two_chunks", layout({3, kChunk + 1001, 8}), 1.0), adamw_of_the_full_model()};
}

}  // namespace
MFL_OP_TESTS(AdamW, adamw_cases)

namespace {

// A store of a few parameters on one device, with its optimizer state.
class Optimizer {
 public:
  explicit Optimizer(Device d, std::initializer_list<std::int64_t> counts = {3, 70})
      : stream_(Stream::create(d, "test")), layout_(layout(counts)), table_(chunk_table(layout_.segments)) {
    for (Tensor* t : {&value, &grad, &m, &v}) {
      *t = Tensor::on_heap({layout_.flat}, DType::f32, d);
      fill_zero(stream_, *t);
    }
    chunks = Tensor::on_heap({std::int64_t(table_.size()) / 4, 4}, DType::i64, d);
    partial = Tensor::on_heap({chunks.shape()[0]}, DType::f64, d);
    scalars = Tensor::on_heap(kStepScalarsShape, DType::u8, d);
    copy(stream_, make_view(static_cast<const void*>(table_.data()), chunks.shape(), DType::i64), chunks);
    init_scalars(stream_, {.scalars = scalars});
  }
  void set(const Tensor& t, const std::vector<float>& x) {
    copy(stream_, make_view(static_cast<const void*>(x.data()), t.shape(), DType::f32), t);
    stream_.synchronize();
  }
  std::vector<float> get(const Tensor& t) {
    std::vector<float> x(std::size_t(t.numel()));
    copy(stream_, t, make_view(x.data(), t.shape(), DType::f32));
    stream_.synchronize();
    return x;
  }
  StepScalars step(DecideUpdate rule, double learning_rate = 0.1) {
    set_learning_rate(stream_, {.scalars = scalars, .learning_rate = learning_rate});
    grad_norm(stream_, {.grad = grad, .chunks = chunks, .partial = partial, .scalars = scalars});
    rule.scalars = scalars;
    decide_update(stream_, rule);
    adamw(stream_, {.value = value, .grad = grad, .exp_avg = m, .exp_avg_sq = v, .chunks = chunks, .scalars = scalars,
                    .groups = kGroups});
    StepScalars out;
    copy(stream_, scalars, make_view(&out, kStepScalarsShape, DType::u8));
    stream_.synchronize();
    return out;
  }
  Tensor value, grad, m, v, chunks, partial, scalars;
  std::int64_t flat() const { return layout_.flat; }

 private:
  Stream stream_;
  Layout layout_;
  std::vector<std::int64_t> table_;
};

class StepDecision : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (std::string(GetParam()) == "Cuda") MFL_SKIP_WITHOUT_CUDA();
  }
  Device device() const { return std::string(GetParam()) == "Cuda" ? Device{DeviceKind::cuda, 0} : kCpu; }
};
INSTANTIATE_TEST_SUITE_P(On, StepDecision, ::testing::Values("Cpu", "Cuda"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(StepDecision, ClipsToTheMaximalNorm) {
  Optimizer o(device());
  std::vector<float> g(std::size_t(o.flat()), 0.0f);
  g[0] = 3, g[64] = 4, g[10] = 100;  // element 10 lies in the gap between the parameters
  o.set(o.grad, g);
  const StepScalars s = o.step({.scalars = {}, .max_norm = 1});
  EXPECT_NEAR(s.norm, 5, 1e-6);
  EXPECT_NEAR(s.grad_scale, 1 / (5 + 1e-6), 1e-9);
  EXPECT_EQ(s.outcome, UpdateOutcome::clipped);
  EXPECT_EQ(s.updates, 1);
  EXPECT_NEAR(s.bias1, 0.1, 1e-12);
  const auto value = o.get(o.value);
  EXPECT_NEAR(value[0], -0.1, 1e-6);  // the first step of Adam moves by the learning rate
  EXPECT_EQ(value[10], 0);
}

TEST_P(StepDecision, LeavesEverythingUntouchedWhenAGradientIsNotFinite) {
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Optimizer o(device());
    std::vector<float> g(std::size_t(o.flat()), 1.0f);
    g[64 + 69] = bad;
    o.set(o.grad, g);
    o.set(o.value, std::vector<float>(std::size_t(o.flat()), 2.0f));
    const StepScalars s = o.step({.scalars = {}, .max_norm = 1, .allowed_factor = 20});
    EXPECT_EQ(s.outcome, UpdateOutcome::non_finite);
    EXPECT_EQ(s.bad_segment, 1);
    EXPECT_EQ(s.updates, 0);
    for (float x : o.get(o.value)) ASSERT_EQ(x, 2.0f);
    for (float x : o.get(o.m)) ASSERT_EQ(x, 0.0f);
  }
}

TEST_P(StepDecision, SkipsAnExplodedNormAndCountsOnlyAppliedSteps) {
  Optimizer o(device());
  o.set(o.grad, std::vector<float>(std::size_t(o.flat()), 10.0f));
  EXPECT_EQ(o.step({.scalars = {}, .max_norm = 1, .allowed_factor = 20}).outcome, UpdateOutcome::norm_skip);
  o.set(o.grad, std::vector<float>(std::size_t(o.flat()), 0.01f));
  const StepScalars s = o.step({.scalars = {}, .max_norm = 1, .allowed_factor = 20});
  EXPECT_EQ(s.outcome, UpdateOutcome::applied);
  EXPECT_EQ(s.updates, 1);
  EXPECT_EQ(s.grad_scale, 1);
}

TEST_P(StepDecision, SkipsWhenTheLossIsNotFinite) {
  Optimizer o(device());
  Tensor loss = Tensor::on_heap({2}, DType::f32, device());
  o.set(loss, {1.0f, std::numeric_limits<float>::infinity()});
  const StepScalars s = o.step({.scalars = {}, .loss = loss});
  EXPECT_EQ(s.outcome, UpdateOutcome::non_finite);
  EXPECT_EQ(s.bad_segment, -1);
}

TEST_P(StepDecision, ZeroGradientMovesOnlyWhatDecays) {
  Optimizer o(device());
  o.set(o.value, std::vector<float>(std::size_t(o.flat()), 1.0f));
  o.step({}, 0.1);
  const auto value = o.get(o.value);
  EXPECT_NEAR(value[0], 1 - 0.1 * 0.05, 1e-7);  // the first parameter decays
  EXPECT_EQ(value[64], 1.0f);
}

TEST_P(StepDecision, AGroupsFactorScalesItsLearningRate) {
  Optimizer o(device(), {3, 70, 5, 9});
  o.set(o.grad, std::vector<float>(std::size_t(o.flat()), 1.0f));
  o.step({.scalars = {}, .max_norm = 0}, 0.1);
  const auto value = o.get(o.value);   // the first step of Adam moves by the group's learning rate
  EXPECT_NEAR(value[0], -0.1, 1e-6);
  EXPECT_NEAR(value[64], -0.1, 1e-6);
  EXPECT_NEAR(value[64 + 128], -0.25, 1e-6);
  EXPECT_NEAR(value[64 + 128 + 64], -0.05, 1e-6);
}

TEST(AdamW, IsTheTextbookStep) {
  Optimizer o(kCpu);
  double p = 0.5, m = 0, v = 0;
  o.set(o.value, std::vector<float>(std::size_t(o.flat()), float(p)));
  for (int t = 1; t <= 5; ++t) {
    const double g = std::sin(t), lr = 0.01 * t;
    o.set(o.grad, std::vector<float>(std::size_t(o.flat()), float(g)));
    o.step({}, lr);
    p *= 1 - lr * 0.05;
    m = 0.9 * m + 0.1 * g;
    v = 0.95 * v + 0.05 * g * g;
    p -= lr * (m / (1 - std::pow(0.9, t))) / (std::sqrt(v / (1 - std::pow(0.95, t))) + 1e-8);
  }
  EXPECT_NEAR(o.get(o.value)[2], p, 1e-6);
}

}  // namespace
}  // namespace mfl::test
