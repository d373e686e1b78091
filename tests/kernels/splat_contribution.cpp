#include "kernels/splat/contribution.h"

#include <algorithm>
#include <memory>

#include "tests/support/op_case.h"
#include "tests/support/random_splats.h"

namespace mfl::test {
namespace {

OpCase contribution_case(const std::string& name, const Splats& s, std::int64_t chunk = kRasterizeChunk) {
  OpCase c;
  c.name = name;
  const Shape vn{s.views, s.n};
  c.inputs = {{"splat", {s.views, s.n, kSplatSize}, Role::accum, false, listed(s.splat)},
              {"depth", vn, Role::accum, false, listed(s.depth)},
              {"rect", vn, Role::fixed, false, listed(s.rect)}};
  c.outputs = {{"total", {s.n}, Role::accum, false}, {"peak", {s.n}, Role::accum, false}};
  auto arenas = std::make_shared<std::map<int, std::unique_ptr<Arena>>>();
  c.forward = [=](Run& r) {
    auto& arena = (*arenas)[int(r.stream.device().kind)];
    if (!arena) arena = std::make_unique<Arena>(r.stream.device(), std::size_t{4} << 30, "render");
    contribution_fwd(r.stream, *arena,
                     {.splat = r["splat"], .depth = r["depth"], .rect = r["rect"], .height = s.height, .width = s.width,
                      .total = r["total"], .peak = r["peak"], .chunk = chunk});
  };
  c.bf16 = false;
  c.terms = double(s.height) * s.width;
  c.flips = 5e-3;
  return c;
}

std::vector<OpCase> contribution_cases() {
  return {contribution_case("one", random_splats(1, 1, 20, 30, 4, 0.9)),
          contribution_case("few", random_splats(2, 12, 40, 50, 5, 0.9)),
          contribution_case("opaque", random_splats(1, 60, 33, 47, 6, 0.98)),
          contribution_case("many", random_splats(3, 700, 100, 77, 8, 0.6)),
          contribution_case("chunks", random_splats(3, 700, 100, 77, 8, 0.6), 1),
          contribution_case("large", random_splats(2, 1500, 96, 120, 15, 0.2)),
          contribution_case("large_chunks", random_splats(2, 1500, 96, 120, 15, 0.2), 4000),
          contribution_case("views", random_splats(19, 40, 48, 48, 4, 0.9)),
          contribution_case("none", random_splats(2, 0, 20, 20, 4, 0.9))};
}

}  // namespace
MFL_OP_TESTS(Contribution, contribution_cases)

namespace {

struct Weights {
  std::vector<double> total, peak;
};
Weights weights_of(const Splats& s) {
  const Stream stream = Stream::create(kCpu, "test");
  Arena arena(kCpu, std::size_t{1} << 30, "render");
  const std::vector<std::int32_t> rect(s.rect.begin(), s.rect.end());
  Weights w{std::vector<double>(std::size_t(s.n)), std::vector<double>(std::size_t(s.n))};
  contribution_fwd(stream, arena,
                   {.splat = make_view(s.splat.data(), {s.views, s.n, kSplatSize}, DType::f64),
                    .depth = make_view(s.depth.data(), {s.views, s.n}, DType::f64),
                    .rect = make_view(static_cast<const void*>(rect.data()), {s.views, s.n}, DType::i32),
                    .height = s.height,
                    .width = s.width,
                    .total = make_view(w.total.data(), {s.n}, DType::f64),
                    .peak = make_view(w.peak.data(), {s.n}, DType::f64)});
  return w;
}

// The derivative of the picture's sum by a Gaussian's red is its total weight.
TEST(ContributionOracle, TotalIsTheGradientOfTheColour) {
  const Splats s = random_splats(3, 300, 70, 50, 6, 0.95);
  const Stream stream = Stream::create(kCpu, "test");
  Arena arena(kCpu, std::size_t{1} << 30, "render");
  const std::vector<std::int32_t> rect(s.rect.begin(), s.rect.end());
  const Shape picture{s.views, s.height, s.width, 3};
  std::vector<double> image(std::size_t(picture.numel())), one(image.size(), 0.0), d(s.splat.size());
  for (std::size_t i = 0; i < one.size(); i += 3) one[i] = 1;
  RasterizeState saved;
  rasterize_fwd(stream, arena,
                {.splat = make_view(s.splat.data(), {s.views, s.n, kSplatSize}, DType::f64),
                 .depth = make_view(s.depth.data(), {s.views, s.n}, DType::f64),
                 .rect = make_view(static_cast<const void*>(rect.data()), {s.views, s.n}, DType::i32),
                 .image = make_view(image.data(), picture, DType::f64)},
                &saved);
  rasterize_bwd(stream, arena,
                {.image = make_view(static_cast<const void*>(image.data()), picture, DType::f64),
                 .dimage = make_view(static_cast<const void*>(one.data()), picture, DType::f64),
                 .dsplat = make_view(d.data(), {s.views, s.n, kSplatSize}, DType::f64)},
                saved);
  saved = {};
  const Weights w = weights_of(s);
  for (std::int64_t i = 0; i < s.n; ++i) {
    double sum = 0;
    for (std::int64_t v = 0; v < s.views; ++v) sum += d[std::size_t(kSplatSize * (v * s.n + i) + 6)];
    ASSERT_NEAR(w.total[std::size_t(i)], sum, 1e-9 * (1 + sum)) << i;
  }
}

TEST(ContributionOracle, PeakIsTheOpacityOfTheFirstAndWhatItLetsThroughOfTheNext) {
  // Both stand on the middle of pixel (8, 8): alpha 0.6, then 0.5 of the 0.4 that are left; the third is not seen.
  Splats s{1, 3, 16, 16, {}, {1, 2, 0}, {1 << 16 | 1 << 24, 1 << 16 | 1 << 24, 0}};
  for (double opacity : {0.6, 0.5, 0.9})
    for (double x : {8.0, 8.0, 0.3, 0.0, 0.3, opacity, 1.0, 1.0, 1.0}) s.splat.push_back(x);
  const Weights w = weights_of(s);
  EXPECT_NEAR(w.peak[0], 0.6, 1e-12);
  EXPECT_GE(w.peak[1], 0.2);
  EXPECT_LT(w.peak[1], 0.5);
  EXPECT_GT(w.total[0], w.total[1]);
  EXPECT_EQ(w.total[2], 0);
  EXPECT_EQ(w.peak[2], 0);
}

}  // namespace
}  // namespace mfl::test
