#include "kernels/gaussian/align_loss.h"

#include <cmath>
#include <vector>

#include "tests/support/op_case.h"
#include "tests/support/posed_camera.h"
#include "tests/support/scalar.h"

namespace mfl::test {
namespace {

struct Size {
  std::int64_t batch, views, h, w;
  int patch;
};

OpCase base(std::string name, Size z) {
  OpCase c;
  c.name = text(name, "_B", z.batch, "_V", z.views, "_H", z.h, "_W", z.w);
  c.inputs = {{"xyz", {z.batch, z.views * z.h * z.w, 3}, Role::accum, true, [](Rng& r) { return 0.5 * r.normal(); }},
              {"c2w", {z.batch, z.views, 4, 4}, Role::accum, false, camera_to_world()},
              {"fxfycxcy", {z.batch, z.views, 4}, Role::accum, false, intrinsics(double(z.h), double(z.w))}};
  c.outputs = {{"loss", {1}, Role::accum}};
  c.bytes_fwd = 12.0 * double(z.batch * z.views * z.h * z.w), c.bytes_bwd = 2 * c.bytes_fwd;
  c.terms = 1024;  // distances near 3 in f32, then differences of them
  return c;
}
PixelGrid grid(Run& r, Size z) {
  return {.c2w = r["c2w"], .fxfycxcy = r["fxfycxcy"], .height = int(z.h), .width = int(z.w), .patch = z.patch};
}
View scratch(Run& r, Size z) { return r.scratch({align_scratch(z.batch * z.views)}, DType::f64); }

OpCase pixel_align_case(Size z, bool masked) {
  OpCase c = base(masked ? "masked" : "plain", z);
  if (masked)
    c.inputs.push_back({"target",
                        {z.batch, z.views, z.h, z.w, 4},
                        Role::fixed,
                        false,
                        [](Rng& r) { return r.uniform(0, 1); },
                        DType::f32});
  c.terms = 65536;  // dxyz = r / |r|, where r is a difference of lengths near 3 that may be as short as 0.01
  auto target = [masked](Run& r) { return masked ? ConstView(r["target"]) : ConstView{}; };
  c.forward = [=](Run& r) {
    pixel_align_fwd(
        r.stream,
        {.xyz = r["xyz"], .grid = grid(r, z), .target = target(r), .loss = r["loss"], .scratch = scratch(r, z)});
  };
  c.backward = [=](Run& r) {
    pixel_align_bwd(r.stream, {.xyz = r["xyz"],
                               .grid = grid(r, z),
                               .target = target(r),
                               .weight = host_value(r.stream, r["dloss"]),
                               .dxyz = r["dxyz"],
                               .dxyz_mode = r.mode});
  };
  return c;
}

OpCase points_dist_case(Size z) {
  OpCase c = base("points", z);
  c.outputs.push_back({"stats", {z.batch, z.views, 2}, Role::accum, false});
  c.forward = [=](Run& r) {
    points_dist_fwd(
        r.stream,
        {.xyz = r["xyz"], .grid = grid(r, z), .loss = r["loss"], .stats = r["stats"], .scratch = scratch(r, z)});
  };
  c.backward = [=](Run& r) {
    points_dist_bwd(r.stream, {.xyz = r["xyz"],
                               .grid = grid(r, z),
                               .stats = r["stats"],
                               .weight = host_value(r.stream, r["dloss"]),
                               .dxyz = r["dxyz"],
                               .dxyz_mode = r.mode});
  };
  // The goal is a value without gradient: a finite difference of the loss does not measure this. PointsDist below does.
  c.gradient_tolerance = 1e9;
  return c;
}

constexpr Size kSizes[] = {{1, 1, 2, 1, 1}, {2, 3, 4, 6, 2}, {1, 2, 9, 3, 3}, {1, 2, 24, 16, 8}};
constexpr Size kReal = {2, 6, 512, 512, 8};

std::vector<OpCase> pixel_align_cases() {
  std::vector<OpCase> cases;
  for (Size z : kSizes)
    for (bool masked : {false, true}) cases.push_back(pixel_align_case(z, masked));
  cases.push_back(bench_only(pixel_align_case(kReal, true)));
  return cases;
}
std::vector<OpCase> points_dist_cases() {
  std::vector<OpCase> cases;
  for (Size z : kSizes) cases.push_back(points_dist_case(z));
  cases.push_back(bench_only(points_dist_case(kReal)));
  return cases;
}

}  // namespace
MFL_OP_TESTS(PixelAlign, pixel_align_cases)
MFL_OP_TESTS(PointsDist, points_dist_cases)

namespace {

TEST(PointsDist, GradientHoldsTheGoalFixed) {
  const Stream s = Stream::create(kCpu, "test");
  const auto cam = make_camera(1, 1, 4, 4);
  Rng rng(9, Draw::test);
  std::vector<double> xyz(48), dxyz(48), stats(2);
  for (double& e : xyz) e = 0.5 * rng.normal();
  double loss = 0;
  const PixelGrid grid{.c2w = cam.c2w_view(), .fxfycxcy = cam.k_view(), .height = 4, .width = 4, .patch = 2};
  auto view = [](std::vector<double>& v, Shape shape) { return make_view(v.data(), shape, DType::f64); };
  points_dist_fwd(s, {.xyz = view(xyz, {1, 16, 3}),
                      .grid = grid,
                      .loss = make_view(&loss, {1}, DType::f64),
                      .stats = view(stats, {1, 1, 2})});
  points_dist_bwd(s, {.xyz = view(xyz, {1, 16, 3}),
                      .grid = grid,
                      .stats = view(stats, {1, 1, 2}),
                      .weight = 3,
                      .dxyz = view(dxyz, {1, 16, 3}),
                      .dxyz_mode = GradMode::overwrite});
  const double o[3] = {cam.c2w[3], cam.c2w[7], cam.c2w[11]};
  const double radius = std::sqrt(o[0] * o[0] + o[1] * o[1] + o[2] * o[2]);
  auto distance = [&](const std::vector<double>& p, int i) {
    return std::sqrt(std::pow(p[3 * i] - o[0], 2) + std::pow(p[3 * i + 1] - o[1], 2) +
                     std::pow(p[3 * i + 2] - o[2], 2));
  };
  double mean = 0, variance = 0;
  for (int i = 0; i < 16; ++i) mean += distance(xyz, i) / 16;
  for (int i = 0; i < 16; ++i) variance += std::pow(distance(xyz, i) - mean, 2) / 15;
  std::vector<double> goal(16);
  for (int i = 0; i < 16; ++i) goal[i] = (distance(xyz, i) - mean) / (std::sqrt(variance) + 1e-8) * 0.5 + radius;
  auto held = [&](const std::vector<double>& p) {
    double sum = 0;
    for (int i = 0; i < 16; ++i) sum += std::pow(distance(p, i) - goal[i], 2) / 16;
    return sum;
  };
  EXPECT_NEAR(loss, held(xyz), 1e-12);
  for (std::size_t i = 0; i < xyz.size(); ++i) {
    std::vector<double> plus = xyz, minus = xyz;
    plus[i] += 1e-6, minus[i] -= 1e-6;
    EXPECT_NEAR(dxyz[i], 3 * (held(plus) - held(minus)) / 2e-6, 1e-7);
  }
}

}  // namespace
}  // namespace mfl::test
