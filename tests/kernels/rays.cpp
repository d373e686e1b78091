#include "kernels/embed/rays.h"

#include <cmath>
#include <vector>

#include "kernels/embed/camera_ray.h"
#include "kernels/embed/patchify.h"
#include "tests/support/op_case.h"
#include "tests/support/posed_camera.h"

namespace mfl::test {
namespace {

// Types: images and cameras are of the accum type, tokens of the compute type.
OpCase tokenize_case(std::int64_t batch, std::int64_t views, std::int64_t h, std::int64_t w, std::int64_t ci, int patch,
                     PosedImage kind) {
  OpCase c;
  const std::int64_t p = patch;
  c.name = text('B', batch, "_V", views, "_H", h, "_W", w, "_I", ci, "_p", p, "_kind", int(kind));
  c.inputs = {{"image", {batch, views, h, w, ci}, Role::accum, false, [](Rng& r) { return r.uniform(0, 1); }},
              {"c2w", {batch, views, 4, 4}, Role::accum, false, camera_to_world()},
              {"fxfycxcy", {batch, views, 4}, Role::accum, false, intrinsics(double(h), double(w))}};
  c.outputs = {{"tokens", {batch, views * (h / p) * (w / p), p * p * channels_of(kind)}, Role::work, false},
               {"origin", {batch, views, h * w, 3}, Role::accum, false},
               {"direction", {batch, views, h * w, 3}, Role::accum, false}};
  c.forward = [=](Run& r) {
    tokenize(r.stream, {.image = r["image"],
                        .c2w = r["c2w"],
                        .fxfycxcy = r["fxfycxcy"],
                        .kind = kind,
                        .patch = patch,
                        .tokens = r["tokens"]});
    camera_rays(r.stream, {.c2w = r["c2w"],
                           .fxfycxcy = r["fxfycxcy"],
                           .height = int(h),
                           .width = int(w),
                           .patch = kind == PosedImage::custom ? patch : 0,
                           .origin = r["origin"],
                           .direction = r["direction"]});
  };
  c.bytes_fwd = double(batch * views * h * w) * (4.0 * double(ci) + 2.0 * double(channels_of(kind)));
  c.terms = 64;  // the ray's chain of f32 operations
  return c;
}

std::vector<OpCase> tokenize_cases() {
  std::vector<OpCase> cases = {
      tokenize_case(1, 1, 1, 1, 3, 1, PosedImage::custom), tokenize_case(2, 3, 6, 4, 4, 2, PosedImage::custom),
      tokenize_case(1, 2, 16, 24, 3, 8, PosedImage::custom), tokenize_case(1, 2, 9, 15, 3, 3, PosedImage::augmented),
      tokenize_case(2, 1, 16, 8, 5, 4, PosedImage::standard)};
  cases.push_back(tokenize_case(1, 6, 512, 512, 3, 8, PosedImage::custom));
  cases.back().bench_only = true;
  return cases;
}

OpCase patchify_case(std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t channels, int p, bool back) {
  OpCase c;
  c.name = text(back ? "unpatchify_N" : "patchify_N", n, "_H", h, "_W", w, "_C", channels, "_p", p);
  const Shape image{n, h, w, channels}, patches{n, (h / p) * (w / p), p * p * channels};
  c.inputs = {{"x", back ? patches : image, Role::accum}};
  c.outputs = {{"y", back ? image : patches}};
  c.forward = [=](Run& r) {
    if (back)
      unpatchify(r.stream, {.patches = r["x"], .patch = p, .image = r["y"]});
    else
      patchify(r.stream, {.image = r["x"], .patch = p, .patches = r["y"]});
  };
  c.backward = [=](Run& r) {
    if (back)
      patchify(r.stream, {.image = r["dy"], .patch = p, .patches = r["dx"], .mode = r.mode});
    else
      unpatchify(r.stream, {.patches = r["dy"], .patch = p, .image = r["dx"], .mode = r.mode});
  };
  c.bytes_fwd = c.bytes_bwd = 6 * double(n * h * w * channels);
  return c;
}

std::vector<OpCase> patchify_cases() {
  std::vector<OpCase> cases;
  for (bool back : {false, true}) {
    cases.push_back(patchify_case(1, 1, 1, 1, 1, back));
    cases.push_back(patchify_case(3, 4, 6, 5, 2, back));
    cases.push_back(patchify_case(2, 16, 8, 3, 8, back));
    cases.push_back(patchify_case(2, 9, 3, 14, 3, back));
    cases.push_back(bench_only(patchify_case(12, 512, 512, 9, 8, back)));
  }
  return cases;
}

}  // namespace
MFL_OP_TESTS(Tokenize, tokenize_cases)
MFL_OP_TESTS(Patchify, patchify_cases)

namespace {

TEST(Rays, PassThroughTheirPixelAndHaveUnitLength) {
  const auto cam = make_camera(1, 2, 12, 20);
  for (int v = 0; v < 2; ++v)
    for (int y : {0, 5, 11})
      for (int x : {0, 7, 19}) {
        const double *m = cam.c2w.data() + 16 * v, *k = cam.fxfycxcy.data() + 4 * v;
        const auto ray = camera_ray<double>(m, k, x, y);
        double cam_point[3], length = 0;
        for (int i = 0; i < 3; ++i) length += ray.direction[i] * ray.direction[i];
        EXPECT_NEAR(length, 1, 1e-14);
        // Back through the camera: R^T d, then the pinhole.
        for (int i = 0; i < 3; ++i)
          cam_point[i] = m[i] * ray.direction[0] + m[4 + i] * ray.direction[1] + m[8 + i] * ray.direction[2];
        EXPECT_NEAR(k[0] * cam_point[0] / cam_point[2] + k[2], x + 0.5, 1e-10);
        EXPECT_NEAR(k[1] * cam_point[1] / cam_point[2] + k[3], y + 0.5, 1e-10);
      }
}

TEST(Tokenize, ReadsTheFirstViewsOfALargerBatch) {
  const Stream s = Stream::create(kCpu, "test");
  const auto cam = make_camera(2, 3, 4, 4);
  std::vector<double> image(2 * 3 * 4 * 4 * 3), all(2 * 3 * 4 * 36), part(2 * 2 * 4 * 36);
  Rng rng(3, Draw::test);
  for (double& e : image) e = rng.uniform(0, 1);
  const ConstView im = make_view(static_cast<const void*>(image.data()), {2, 3, 4, 4, 3}, DType::f64);
  tokenize(s, {.image = im,
               .c2w = cam.c2w_view(),
               .fxfycxcy = cam.k_view(),
               .patch = 2,
               .tokens = make_view(all.data(), {2, 12, 36}, DType::f64)});
  tokenize(s, {.image = slice(im, 1, 0, 2),
               .c2w = slice(cam.c2w_view(), 1, 0, 2),
               .fxfycxcy = slice(cam.k_view(), 1, 0, 2),
               .patch = 2,
               .tokens = make_view(part.data(), {2, 8, 36}, DType::f64)});
  for (int b = 0; b < 2; ++b)
    for (int i = 0; i < 8 * 36; ++i) ASSERT_EQ(part[b * 8 * 36 + i], all[b * 12 * 36 + i]);
}

TEST(Patchify, ListsChannelsFastestThenColumnsThenRows) {
  const Stream s = Stream::create(kCpu, "test");
  std::vector<float> image(4 * 4 * 2), patches(image.size());
  for (std::size_t i = 0; i < image.size(); ++i) image[i] = float(i);
  patchify(s, {.image = make_view(static_cast<const void*>(image.data()), {1, 4, 4, 2}, DType::f32),
               .patch = 2,
               .patches = make_view(patches.data(), {1, 4, 8}, DType::f32)});
  const float second_patch[8] = {4, 5, 6, 7, 12, 13, 14, 15};
  for (int i = 0; i < 8; ++i) EXPECT_EQ(patches[8 + i], second_patch[i]);
}

TEST(Patchify, NamesAnImageThatDoesNotDivide) {
  const Stream s = Stream::create(kMeta, "test");
  auto view = [](Shape shape) { return make_view(static_cast<void*>(nullptr), shape, DType::f32, kMeta); };
  EXPECT_THROW(patchify(s, {.image = view({1, 9, 8, 3}), .patch = 8, .patches = view({1, 1, 192})}), ShapeError);
}

}  // namespace
}  // namespace mfl::test
