#include <cmath>

#include "kernels/splat/project.h"
#include "kernels/splat/sh.h"
#include "tests/support/op_case.h"
#include "tests/support/splat_scene.h"

namespace mfl::test {
namespace {

// The elements of a list, in turn.
std::function<double(Rng&)> listed(std::vector<double> values) {
  return [values = std::move(values), i = std::size_t{0}](Rng&) mutable { return values[i++ % values.size()]; };
}

std::vector<double> cameras(std::int64_t views) {
  std::vector<double> out;
  for (std::int64_t v = 0; v < views; ++v)
    for (float x : ring_camera(0.4 + 1.1 * double(v), 0.25 * double(v % 3), 2.7)) out.push_back(x);
  return out;
}
std::vector<double> intrinsics(std::int64_t views, int height, int width) {
  std::vector<double> out;
  for (std::int64_t v = 0; v < views; ++v)
    for (double x : {1.07 * width, 1.13 * width, 0.5 * width + 3.25 * double(v), 0.5 * height - 2.5 * double(v)})
      out.push_back(x);
  return out;
}

OpCase project_case(std::int64_t n, std::int64_t views, int degree, int height, int width) {
  OpCase c;
  const std::int64_t k = sh_coefficients(degree);
  c.name = text('N', n, "_V", views, "_degree", degree);
  auto around = [](double mean, double spread) { return [=](Rng& r) { return mean + spread * r.normal(); }; };
  c.inputs = {{"xyz", {n, 3}, Role::accum, true, around(0, 0.3)},
              {"features", {n, k, 3}, Role::accum, true, around(0.1, 0.6)},
              {"scaling", {n, 3}, Role::accum, true, around(-2.5, 0.3)},
              {"rotation", {n, 4}, Role::accum},
              {"opacity", {n, 1}, Role::accum},
              {"c2w", {views, 4, 4}, Role::accum, false, listed(cameras(views))},
              {"fxfycxcy", {views, 4}, Role::accum, false, listed(intrinsics(views, height, width))}};
  c.outputs = {{"splat", {views, n, kSplatSize}, Role::accum},
               {"depth", {views, n}, Role::accum, false},
               {"rect", {views, n}, Role::fixed, false}};
  c.forward = [=](Run& r) {
    project_fwd(r.stream, {.xyz = r["xyz"],
                           .features = r["features"],
                           .scaling = r["scaling"],
                           .rotation = r["rotation"],
                           .opacity = r["opacity"],
                           .c2w = r["c2w"],
                           .fxfycxcy = r["fxfycxcy"],
                           .height = height,
                           .width = width,
                           .splat = r["splat"],
                           .depth = r["depth"],
                           .rect = r["rect"]});
  };
  c.backward = [=](Run& r) {
    project_bwd(r.stream, {.xyz = r["xyz"],
                           .features = r["features"],
                           .scaling = r["scaling"],
                           .rotation = r["rotation"],
                           .opacity = r["opacity"],
                           .c2w = r["c2w"],
                           .fxfycxcy = r["fxfycxcy"],
                           .height = height,
                           .width = width,
                           .rect = r["rect"],
                           .dsplat = r["dsplat"],
                           .dxyz = r["dxyz"],
                           .dfeatures = r["dfeatures"],
                           .dscaling = r["dscaling"],
                           .drotation = r["drotation"],
                           .dopacity = r["dopacity"],
                           .mode = r.mode});
  };
  const double nv = double(n) * double(views);
  c.bytes_fwd = double(n) * double(11 + 3 * k) * 4 + nv * 44, c.flops_fwd = 200 * nv;
  c.bytes_bwd = double(n) * double(11 + 3 * k) * 8 + nv * 40, c.flops_bwd = 500 * nv;
  c.bf16 = false;
  c.terms = 100;  // products of a few hundred pixels with variances of a few hundred pixels^2
  c.gradient_tolerance =
      1e-6;  // 1e-7 in 1 / (det^2 + 1e-7) is 1e-7 of det^2 = 1, and the difference quotient's own error
  c.step = 1e-6;
  c.flips = 1e-3;  // a Gaussian at the edge of being seen
  return c;
}

std::vector<OpCase> project_cases() {
  std::vector<OpCase> cases;
  for (int degree = 0; degree <= 3; ++degree) cases.push_back(project_case(9, 3, degree, 80, 112));
  cases.push_back(project_case(1, 1, 0, 33, 47));
  cases.push_back(project_case(257, 2, 1, 64, 64));
  OpCase real = project_case(1572866, 8, 0, 512, 512);
  real.bench_only = true;
  cases.push_back(real);
  return cases;
}

}  // namespace
MFL_OP_TESTS(Project, project_cases)

namespace {

// One Gaussian before one camera at the origin that looks along z.
struct One {
  double xyz[3] = {0, 0, 2}, features[3] = {0.3, -5, 0}, scaling[3] = {-2, -2, -2}, rotation[4] = {2, 0, 0, 0},
         opacity = 0;
  double c2w[16] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}, k[4] = {50, 60, 30, 21};
  double splat[kSplatSize], depth;
  std::int32_t rect;
  double dsplat[kSplatSize] = {}, dxyz[3], dfeatures[3], dscaling[3], drotation[4], dopacity;
  Stream stream = Stream::create(kCpu, "test");
  static View f(double* p, Shape s) { return make_view(p, s, DType::f64); }
  void forward() {
    project_fwd(stream, {.xyz = f(xyz, {1, 3}),
                         .features = f(features, {1, 1, 3}),
                         .scaling = f(scaling, {1, 3}),
                         .rotation = f(rotation, {1, 4}),
                         .opacity = f(&opacity, {1, 1}),
                         .c2w = f(c2w, {1, 4, 4}),
                         .fxfycxcy = f(k, {1, 4}),
                         .height = 48,
                         .width = 64,
                         .splat = f(splat, {1, 1, kSplatSize}),
                         .depth = f(&depth, {1, 1}),
                         .rect = make_view(&rect, {1, 1}, DType::i32)});
  }
  void backward() {
    project_bwd(stream, {.xyz = f(xyz, {1, 3}),
                         .features = f(features, {1, 1, 3}),
                         .scaling = f(scaling, {1, 3}),
                         .rotation = f(rotation, {1, 4}),
                         .opacity = f(&opacity, {1, 1}),
                         .c2w = f(c2w, {1, 4, 4}),
                         .fxfycxcy = f(k, {1, 4}),
                         .height = 48,
                         .width = 64,
                         .rect = make_view(&rect, {1, 1}, DType::i32),
                         .dsplat = f(dsplat, {1, 1, kSplatSize}),
                         .dxyz = f(dxyz, {1, 3}),
                         .dfeatures = f(dfeatures, {1, 1, 3}),
                         .dscaling = f(dscaling, {1, 3}),
                         .drotation = f(drotation, {1, 4}),
                         .dopacity = f(&dopacity, {1, 1})});
  }
};

TEST(ProjectOne, FollowsTheFormulasByHand) {
  One g;
  g.forward();
  // On the axis: the principal point, half a pixel lower than in the intrinsics; Sigma = (f s / z)^2 + 0.3.
  EXPECT_NEAR(g.splat[0], 29.5, 1e-4);
  EXPECT_NEAR(g.splat[1], 20.5, 1e-4);
  const double s = std::exp(-2.0), a = std::pow(50 * s / 2, 2) + 0.3, c = std::pow(60 * s / 2, 2) + 0.3;
  EXPECT_NEAR(g.splat[2], 1 / a, 1e-12);
  EXPECT_NEAR(g.splat[3], 0, 1e-12);
  EXPECT_NEAR(g.splat[4], 1 / c, 1e-12);
  EXPECT_NEAR(g.splat[5], 0.5, 1e-12);
  EXPECT_NEAR(g.splat[6], 0.28209479177387814 * 0.3 + 0.5, 1e-12);
  EXPECT_EQ(g.splat[7], 0);  // clamped
  EXPECT_EQ(g.depth, 2);
  // radius = ceil(3 sqrt(16.79)) = 13: columns (16.5 .. 57.5) / 16 = 1 .. 3, rows (7.5 .. 48.5) / 16 = 0 .. 3
  EXPECT_EQ(g.rect, 1 | 0 << 8 | 2 << 16 | 3 << 24);
}

TEST(ProjectOne, IsNotSeenAtTheNearPlaneOrBesideTheImage) {
  One g;
  g.xyz[2] = 0.2;
  g.forward();
  EXPECT_EQ(g.rect, 0);
  EXPECT_EQ(g.splat[5], 0);
  g.xyz[2] = 0.2000001;
  g.forward();
  EXPECT_NE(g.rect, 0);
  g.xyz[2] = 2, g.xyz[0] = 5;
  g.forward();
  EXPECT_EQ(g.rect, 0);
}

TEST(ProjectOne, ClampedColourAndClampedJacobianGiveNoGradient) {
  One g;
  g.scaling[0] = g.scaling[1] = g.scaling[2] = 0.5;  // large, so that it is seen from beyond 1.3 tan(fov/2)
  g.xyz[0] = 2;                                      // tx/tz = 1 > 1.3 * 0.64
  g.forward();
  ASSERT_NE(g.rect, 0);
  for (int e : {2, 3, 4}) g.dsplat[e] = 1;
  for (int e : {6, 7, 8}) g.dsplat[e] = 1;
  g.backward();
  EXPECT_EQ(g.dxyz[0], 0);
  EXPECT_NE(g.dxyz[2], 0);
  EXPECT_NEAR(g.dfeatures[0], 0.28209479177387814, 1e-12);
  EXPECT_EQ(g.dfeatures[1], 0);
}

TEST(ProjectOne, NamesTheWrongInput) {
  One g;
  ProjectFwd args{};
  args.xyz = One::f(g.xyz, {1, 3}), args.features = One::f(g.features, {1, 3, 1}), args.c2w = One::f(g.c2w, {1, 4, 4});
  try {
    project_fwd(g.stream, args);
    FAIL();
  } catch (const ShapeError& e) {
    EXPECT_NE(std::string(e.what()).find("expected 1, 4, 9 or 16 coefficients"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace mfl::test
