// The oracles against PyTorch in f64: tests/golden/make_dense.py.
#include <cmath>
#include <vector>

#include "kernels/elementwise/gelu.h"
#include "kernels/embed/rays.h"
#include "kernels/gaussian/align_loss.h"
#include "kernels/gaussian/decode.h"
#include "kernels/optim/adamw.h"
#include "kernels/optim/grad_norm.h"
#include "runtime/io/safetensors.h"
#include "tests/support/op_case.h"

namespace mfl::test {
namespace {

class DenseGolden : public ::testing::Test {
 protected:
  ConstView in(const std::string& name) { return kept_.emplace_back(file_.load(name)); }
  // A tensor of the shape of a stored one, to compare with it.
  Tensor like(const std::string& name) { return Tensor::on_heap(file_.load(name).shape(), DType::f64); }
  void expect(const std::string& name, const Tensor& out, double tolerance = 1e-12) {
    const Tensor ref = file_.load(name);
    ASSERT_EQ(ref.numel(), out.numel()) << name;
    for (std::int64_t i = 0; i < ref.numel(); ++i)
      ASSERT_NEAR(out.data<double>()[i], ref.data<double>()[i], tolerance) << name << '[' << i << ']';
  }
  const Stream s_ = Stream::create(kCpu, "test");
  io::SafetensorsFile file_{std::string(MFL_SOURCE_DIR) + "/tests/golden/dense.safetensors"};
  std::vector<Tensor> kept_;
};

TEST_F(DenseGolden, Gelu) {
  Tensor y = like("gelu.y"), dx = like("gelu.dx");
  gelu_fwd(s_, {.x = in("gelu.x"), .y = y});
  gelu_bwd(s_, {.x = in("gelu.x"), .dy = in("gelu.dy"), .dx = dx});
  expect("gelu.y", y);
  expect("gelu.dx", dx);
}

TEST_F(DenseGolden, AdamWWithClipping) {
  const std::vector<ParamSegment> segments = {{0, 30, 0}, {30, 7, 1}};
  std::vector<std::int64_t> table = chunk_table(segments);
  const View chunks = make_view(table.data(), {2, 4}, DType::i64);
  Tensor value = file_.load("adamw.value0"), m = like("adamw.m"), v = like("adamw.v");
  for (const Tensor& t : {m, v}) fill_zero(s_, t);
  Tensor scalars = Tensor::on_heap(kStepScalarsShape, DType::u8), partial = Tensor::on_heap({2}, DType::f64);
  init_scalars(s_, {.scalars = scalars});
  const auto& step = *static_cast<const StepScalars*>(scalars.view().data);
  const ConstView grads = in("adamw.grads"), rates = in("adamw.rates"), norms = in("adamw.norms");
  for (int i = 0; i < 4; ++i) {
    const ConstView grad = reshape(slice(grads, 0, i, 1), {37});
    set_learning_rate(s_, {.scalars = scalars, .learning_rate = rates.as<double>()[i]});
    grad_norm(s_, {.grad = grad, .chunks = chunks, .partial = partial, .scalars = scalars});
    decide_update(s_, {.scalars = scalars, .max_norm = 1.0});
    EXPECT_NEAR(step.norm, norms.as<double>()[i], 1e-12);
    EXPECT_EQ(step.outcome, i == 1 ? UpdateOutcome::applied : UpdateOutcome::clipped);
    adamw(s_, {.value = value, .grad = grad, .exp_avg = m, .exp_avg_sq = v, .chunks = chunks, .scalars = scalars,
               .groups = {{{1, 0.05}}}});
  }
  expect("adamw.value", value);
  expect("adamw.m", m);
  expect("adamw.v", v);
}

TEST_F(DenseGolden, Tokens) {
  Tensor tokens = like("tokens");
  tokenize(s_, {.image = in("image"), .c2w = in("c2w"), .fxfycxcy = in("fxfycxcy"), .patch = 2, .tokens = tokens});
  expect("tokens", tokens);
}

TEST_F(DenseGolden, Decode) {
  DecodeConfig config;
  config.patch = 2;
  Tensor xyz = like("decode.xyz"), features = like("decode.features"), scaling = like("decode.scaling"),
         rotation = like("decode.rotation"), opacity = like("decode.opacity"), dfree = like("decode.free"),
         dpixel = like("decode.pixel");
  decode_fwd(s_, {.free = in("decode.free"),
                  .pixel = in("decode.pixel"),
                  .c2w = in("c2w"),
                  .fxfycxcy = in("fxfycxcy"),
                  .height = 4,
                  .width = 4,
                  .config = config,
                  .xyz = xyz,
                  .features = features,
                  .scaling = scaling,
                  .rotation = rotation,
                  .opacity = opacity});
  expect("decode.xyz", xyz);
  expect("decode.features", features);
  expect("decode.scaling", scaling);
  expect("decode.rotation", rotation);
  expect("decode.opacity", opacity);
  decode_bwd(s_, {.free = in("decode.free"),
                  .pixel = in("decode.pixel"),
                  .c2w = in("c2w"),
                  .fxfycxcy = in("fxfycxcy"),
                  .height = 4,
                  .width = 4,
                  .config = config,
                  .dxyz = in("decode.dxyz"),
                  .dfeatures = in("decode.dfeatures"),
                  .dscaling = in("decode.dscaling"),
                  .drotation = in("decode.drotation"),
                  .dopacity = in("decode.dopacity"),
                  .dfree = dfree,
                  .dpixel = dpixel});
  expect("decode.dfree", dfree);
  expect("decode.dpixel", dpixel);
}

TEST_F(DenseGolden, RayAlignmentLosses) {
  const PixelGrid grid{.c2w = in("c2w"), .fxfycxcy = in("fxfycxcy"), .height = 4, .width = 4, .patch = 2};
  const ConstView xyz = in("align.xyz");
  Tensor loss = Tensor::on_heap({1}, DType::f64), stats = Tensor::on_heap({1, 2, 2}, DType::f64),
         dxyz = like("align.xyz");
  pixel_align_fwd(s_, {.xyz = xyz, .grid = grid, .loss = loss});
  pixel_align_bwd(s_, {.xyz = xyz, .grid = grid, .dxyz = dxyz, .dxyz_mode = GradMode::overwrite});
  expect("align.pixel_align", loss);
  expect("align.pixel_align_dxyz", dxyz);
  points_dist_fwd(s_, {.xyz = xyz, .grid = grid, .loss = loss, .stats = stats});
  points_dist_bwd(s_, {.xyz = xyz, .grid = grid, .stats = stats, .dxyz = dxyz, .dxyz_mode = GradMode::overwrite});
  expect("align.points_dist", loss);
  expect("align.points_dist_dxyz", dxyz);
}

}  // namespace
}  // namespace mfl::test
