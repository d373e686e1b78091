#include "kernels/gaussian/decode.h"

#include <cmath>
#include <vector>

#include "kernels/embed/camera_ray.h"
#include "tests/support/op_case.h"
#include "tests/support/posed_camera.h"

namespace mfl::test {
namespace {

OpCase decode_case(std::string name, std::int64_t batch, std::int64_t n_free, std::int64_t views, std::int64_t h,
                   std::int64_t w, DecodeConfig config) {
  OpCase c;
  c.name = std::move(name);
  const std::int64_t p = config.patch, cg = config.channels(), k = config.coefficients(), n = n_free + views * h * w;
  // Away from the bound of the scale, where the gradient jumps, by more than the finite difference's step.
  auto value = [](Rng& r) {
    const double x = r.normal();
    return std::abs(x - 1.1) < 0.02 ? x + 0.05 : x;
  };
  if (n_free > 0) c.inputs.push_back({"free", {batch, n_free, cg}, Role::work, true, value});
  c.inputs.push_back({"pixel", {batch, views * (h / p) * (w / p), p * p * cg}, Role::work, true, value});
  c.inputs.push_back({"c2w", {batch, views, 4, 4}, Role::accum, false, camera_to_world()});
  c.inputs.push_back({"fxfycxcy", {batch, views, 4}, Role::accum, false, intrinsics(double(h), double(w))});
  c.outputs = {{"xyz", {batch, n, 3}, Role::accum},
               {"features", {batch, n, k, 3}, Role::accum},
               {"scaling", {batch, n, 3}, Role::accum},
               {"rotation", {batch, n, 4}, Role::accum},
               {"opacity", {batch, n, 1}, Role::accum}};
  c.forward = [=](Run& r) {
    decode_fwd(r.stream, {.free = n_free > 0 ? ConstView(r["free"]) : ConstView{},
                          .pixel = r["pixel"],
                          .c2w = r["c2w"],
                          .fxfycxcy = r["fxfycxcy"],
                          .height = int(h),
                          .width = int(w),
                          .config = config,
                          .xyz = r["xyz"],
                          .features = r["features"],
                          .scaling = r["scaling"],
                          .rotation = r["rotation"],
                          .opacity = r["opacity"]});
  };
  c.backward = [=](Run& r) {
    decode_bwd(r.stream, {.free = n_free > 0 ? ConstView(r["free"]) : ConstView{},
                          .pixel = r["pixel"],
                          .c2w = r["c2w"],
                          .fxfycxcy = r["fxfycxcy"],
                          .height = int(h),
                          .width = int(w),
                          .config = config,
                          .dxyz = r["dxyz"],
                          .dfeatures = r["dfeatures"],
                          .dscaling = r["dscaling"],
                          .drotation = r["drotation"],
                          .dopacity = r["dopacity"],
                          .dfree = n_free > 0 ? r["dfree"] : View{},
                          .dpixel = r["dpixel"],
                          .mode = r.mode});
  };
  const double elements = double(batch * n * cg);
  c.bytes_fwd = 6 * elements, c.bytes_bwd = 8 * elements;
  c.terms = 64;  // the ray's and the depth's chain of f32 operations
  return c;
}

std::vector<OpCase> decode_cases() {
  auto with = [](DepthRule rule) {
    DecodeConfig d;
    d.patch = 2, d.depth = rule, d.depth_bias = 0.25;
    if (rule == DepthRule::range) d.depth_min = 0.5, d.depth_max = 4;
    return d;
  };
  DecodeConfig raw = with(DepthRule::nearest), harmonics = with(DepthRule::nearest);
  raw.pixel_align = false;
  harmonics.sh_degree = 2, harmonics.patch = 3;
  std::vector<OpCase> cases = {decode_case("nearest", 2, 2, 2, 4, 6, with(DepthRule::nearest)),
                               decode_case("range", 1, 1, 1, 6, 4, with(DepthRule::range)),
                               decode_case("reference_origin", 1, 3, 2, 4, 4, with(DepthRule::reference_origin)),
                               decode_case("fixed", 1, 2, 1, 4, 4, with(DepthRule::fixed)),
                               decode_case("not_aligned", 2, 2, 1, 4, 4, raw),
                               decode_case("no_free_gaussians", 2, 0, 2, 4, 4, with(DepthRule::nearest)),
                               decode_case("degree_2", 1, 2, 2, 9, 3, harmonics),
                               decode_case("patch_8", 1, 2, 2, 24, 16, {})};
  cases.push_back(decode_case("views_6_side_512", 1, 2, 6, 512, 512, {}));
  cases.back().bench_only = true;
  return cases;
}

}  // namespace
MFL_OP_TESTS(Decode, decode_cases)

namespace {

struct Decoded {
  std::vector<double> xyz, features, scaling, rotation, opacity;
};
Decoded decode(const std::vector<double>& pixel, const PosedCameras& cam, int h, int w, DecodeConfig config) {
  const Stream s = Stream::create(kCpu, "test");
  const std::int64_t v = cam.views, n = v * h * w, p = config.patch;
  Decoded out{std::vector<double>(n * 3), std::vector<double>(n * 3), std::vector<double>(n * 3),
              std::vector<double>(n * 4), std::vector<double>(n)};
  auto view = [](std::vector<double>& x, Shape shape) { return make_view(x.data(), shape, DType::f64); };
  decode_fwd(s, {.pixel = make_view(static_cast<const void*>(pixel.data()), {1, v * (h / p) * (w / p), p * p * 14},
                                    DType::f64),
                 .c2w = cam.c2w_view(),
                 .fxfycxcy = cam.k_view(),
                 .height = h,
                 .width = w,
                 .config = config,
                 .xyz = view(out.xyz, {1, n, 3}),
                 .features = view(out.features, {1, n, 1, 3}),
                 .scaling = view(out.scaling, {1, n, 3}),
                 .rotation = view(out.rotation, {1, n, 4}),
                 .opacity = view(out.opacity, {1, n, 1})});
  return out;
}

TEST(Decode, ZeroOutputIsASmallFaintGreyGaussianNearestToTheOrigin) {
  const auto cam = make_camera(1, 1, 4, 4);
  DecodeConfig config;
  config.patch = 2;
  const Decoded g = decode(std::vector<double>(16 * 14), cam, 4, 4, config);
  for (int i = 0; i < 16; ++i) {
    EXPECT_NEAR(g.scaling[3 * i], -2.3, 1e-12);
    EXPECT_NEAR(g.opacity[i], -2.0, 1e-12);
    // Nearest point of the ray to the origin: position and direction are orthogonal.
    const PixelXY at = pixel_of(i, 4, 2);
    const auto ray = camera_ray<double>(cam.c2w.data(), cam.fxfycxcy.data(), at.x, at.y);
    double dot = 0;
    for (int c = 0; c < 3; ++c) dot += g.xyz[3 * i + c] * ray.direction[c];
    EXPECT_NEAR(dot, 0, 1e-12);
  }
}

TEST(Decode, ScaleIsBoundedAboveAndDepthStaysWithin1_8OfTheNearestPoint) {
  const auto cam = make_camera(1, 2, 8, 8);
  Rng rng(5, Draw::test);
  std::vector<double> pixel(2 * 64 * 14);
  for (double& e : pixel) e = 20 * rng.normal();
  const Decoded g = decode(pixel, cam, 8, 8, {});
  for (double s : g.scaling) EXPECT_LE(s, -1.2);
  for (int i = 0; i < 2 * 64; ++i) {
    const int v = i / 64;
    const PixelXY at = pixel_of(i % 64, 8, 8);
    const auto ray = camera_ray<double>(cam.c2w.data() + 16 * v, cam.fxfycxcy.data() + 4 * v, at.x, at.y);
    double along = 0;
    for (int c = 0; c < 3; ++c) along += g.xyz[3 * i + c] * ray.direction[c];
    EXPECT_LE(std::abs(along), 1.8 + 1e-9);
  }
}

}  // namespace
}  // namespace mfl::test
