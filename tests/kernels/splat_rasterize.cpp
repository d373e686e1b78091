#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "kernels/splat/rasterize.h"
#include "tests/support/op_case.h"
#include "tests/support/random_splats.h"

namespace mfl::test {
namespace {

OpCase rasterize_case(const std::string& name, const Splats& s, std::int64_t chunk = kRasterizeChunk) {
  OpCase c;
  c.name = name;
  const Shape vn{s.views, s.n};
  c.inputs = {{"splat", {s.views, s.n, kSplatSize}, Role::accum, true, listed(s.splat)},
              {"depth", vn, Role::accum, false, listed(s.depth)},
              {"rect", vn, Role::fixed, false, listed(s.rect)}};
  c.outputs = {{"image", {s.views, s.height, s.width, 3}, Role::accum}};
  struct State {
    std::unique_ptr<Arena> arena;
    RasterizeState saved;
    ~State() { saved = {}; }
  };
  // One state for each device and type; each run's backward follows its forward.
  auto states = std::make_shared<std::map<std::pair<int, int>, State>>();
  c.forward = [=](Run& r) {
    State& state = (*states)[{int(r.stream.device().kind), int(r.accum)}];
    if (!state.arena) state.arena = std::make_unique<Arena>(r.stream.device(), std::size_t{4} << 30, "render");
    rasterize_fwd(r.stream, *state.arena,
                  {.splat = r["splat"],
                   .depth = r["depth"],
                   .rect = r["rect"],
                   .background = {0.2f, 1, 0.7f},
                   .image = r["image"],
                   .chunk = chunk},
                  &state.saved);
  };
  c.backward = [=](Run& r) {
    State& state = (*states)[{int(r.stream.device().kind), int(r.accum)}];
    rasterize_bwd(r.stream, *state.arena,
                  {.background = {0.2f, 1, 0.7f},
                   .image = r["image"],
                   .dimage = r["dimage"],
                   .dsplat = r["dsplat"],
                   .mode = r.mode},
                  state.saved);
  };
  c.bf16 = false;
  c.terms = double(s.n);
  // A pixel that crosses alpha = 1/255 within a step is a jump of the difference quotient. The step is small, and the
  // cases of hundreds of splats, where some pixel always does, are not asked.
  c.step = 1e-7;
  c.gradient_tolerance = s.n <= 100 ? 1e-5 : 1e300;
  c.flips = 2e-3;
  c.gradient_relative = 0.2;  // f32: 2e-3, for the pixels that cross alpha = 1/255 or T = 1e-4
  return c;
}

std::vector<OpCase> rasterize_cases() {
  return {rasterize_case("one", random_splats(1, 1, 20, 30, 4, 0.9)),
          rasterize_case("few", random_splats(2, 12, 40, 50, 5, 0.9)),
          rasterize_case("opaque", random_splats(1, 60, 33, 47, 6, 0.98)),
          rasterize_case("many", random_splats(3, 700, 100, 77, 8, 0.6)),
          rasterize_case("chunks", random_splats(3, 700, 100, 77, 8, 0.6), 1),
          rasterize_case("large", random_splats(2, 1500, 96, 120, 15, 0.2)),
          rasterize_case("large_chunks", random_splats(2, 1500, 96, 120, 15, 0.2), 4000),
          rasterize_case("views", random_splats(19, 40, 48, 48, 4, 0.9)),
          rasterize_case("none", random_splats(2, 0, 20, 20, 4, 0.9))};
}

}  // namespace
MFL_OP_TESTS(Rasterize, rasterize_cases)

namespace {

// One pixel after the other, with nothing shared with the oracle: every splat of the sorted list is asked.
std::vector<double> naive(const Splats& s, const double* background) {
  std::vector<double> image;
  for (std::int64_t v = 0; v < s.views; ++v) {
    std::vector<std::int64_t> order;
    for (std::int64_t i = v * s.n; i < (v + 1) * s.n; ++i)
      if (s.rect[std::size_t(i)] != 0) order.push_back(i);
    std::stable_sort(order.begin(), order.end(),
                     [&](auto a, auto b) { return float(s.depth[std::size_t(a)]) < float(s.depth[std::size_t(b)]); });
    for (int y = 0; y < s.height; ++y)
      for (int x = 0; x < s.width; ++x) {
        double t = 1, colour[3] = {};
        for (std::int64_t i : order) {
          const int r = int(s.rect[std::size_t(i)]), tx = x / 16 - (r & 255), ty = y / 16 - (r >> 8 & 255);
          if (tx < 0 || ty < 0 || tx >= (r >> 16 & 255) || ty >= (r >> 24)) continue;
          const double* g = s.splat.data() + kSplatSize * i;
          const double dx = g[0] - x, dy = g[1] - y, power = -(g[2] * dx * dx + g[4] * dy * dy) / 2 - g[3] * dx * dy;
          if (power > 0) continue;
          const double alpha = std::min(0.99, g[5] * std::exp(power));
          if (alpha < 1.0 / 255) continue;
          if (t * (1 - alpha) < 1e-4) break;
          for (int c = 0; c < 3; ++c) colour[c] += g[6 + c] * alpha * t;
          t *= 1 - alpha;
        }
        for (int c = 0; c < 3; ++c) image.push_back(colour[c] + t * background[c]);
      }
  }
  return image;
}

const float kBackground[3] = {0.25f, 1.0f, 0.5f};

// Image of the oracle in f64.
std::vector<double> render(const Splats& s) {
  const Stream stream = Stream::create(kCpu, "test");
  Arena arena(kCpu, std::size_t{1} << 30, "render");
  std::vector<double> image(std::size_t(s.views * s.height * s.width * 3));
  std::vector<std::int32_t> rect(s.rect.begin(), s.rect.end());
  rasterize_fwd(stream, arena,
                {.splat = make_view(s.splat.data(), {s.views, s.n, kSplatSize}, DType::f64),
                 .depth = make_view(s.depth.data(), {s.views, s.n}, DType::f64),
                 .rect = make_view(static_cast<const void*>(rect.data()), {s.views, s.n}, DType::i32),
                 .background = {kBackground[0], kBackground[1], kBackground[2]},
                 .image = make_view(image.data(), {s.views, s.height, s.width, 3}, DType::f64)},
                nullptr);
  return image;
}

void expect_equal(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], tolerance) << "element " << i;
}

TEST(RasterizeOracle, EqualsANaiveLoopOverPixels) {
  const double background[3] = {kBackground[0], kBackground[1], kBackground[2]};
  for (const Splats& s : {random_splats(2, 400, 70, 50, 6, 0.999), random_splats(1, 900, 64, 64, 15, 0.3)})
    expect_equal(render(s), naive(s, background), 1e-12);
}

TEST(RasterizeOracle, DoesNotDependOnTheOrderOfItsInput) {
  const Splats s = random_splats(1, 300, 60, 60, 6, 0.8);
  Splats turned = s;
  for (std::int64_t i = 0; i < s.n; ++i) {
    const std::int64_t j = s.n - 1 - i;
    std::copy_n(s.splat.begin() + kSplatSize * i, kSplatSize, turned.splat.begin() + kSplatSize * j);
    turned.depth[std::size_t(j)] = s.depth[std::size_t(i)];
    turned.rect[std::size_t(j)] = s.rect[std::size_t(i)];
  }
  expect_equal(render(s), render(turned), 0);
}

TEST(RasterizeOracle, ShowsTheBackgroundThroughNothingAndThroughZeroOpacity) {
  Splats s = random_splats(1, 50, 40, 40, 6, 0.8);
  for (std::int64_t i = 0; i < s.n; ++i) s.splat[std::size_t(kSplatSize * i + 5)] = 0;
  for (const Splats& none : {s, random_splats(1, 0, 40, 40, 6, 0.8)}) {
    const auto image = render(none);
    for (std::size_t i = 0; i < image.size(); ++i) ASSERT_EQ(image[i], kBackground[i % 3]);
  }
}

TEST(RasterizeOracle, StaysBetweenTheColoursItMixes) {
  Splats s = random_splats(2, 500, 50, 50, 10, 1.0);
  for (std::int64_t i = 0; i < s.views * s.n; ++i)
    for (int c = 0; c < 3; ++c)
      s.splat[std::size_t(kSplatSize * i + 6 + c)] = std::min(1.0, s.splat[std::size_t(kSplatSize * i + 6 + c)]);
  for (double x : render(s)) ASSERT_TRUE(x >= 0 && x <= 1) << x;
}

TEST(RasterizeOracle, ACropByTilesIsThatPartOfTheWhole) {
  const Splats whole = random_splats(1, 300, 64, 80, 6, 0.8);
  Splats part = whole;  // rows 16 to 48, columns 32 to 64
  part.height = 32, part.width = 32;
  for (std::int64_t i = 0; i < whole.n; ++i) {
    part.splat[std::size_t(kSplatSize * i)] -= 32, part.splat[std::size_t(kSplatSize * i + 1)] -= 16;
    const int r = int(whole.rect[std::size_t(i)]), x = r & 255, y = r >> 8 & 255, w = r >> 16 & 255, h = r >> 24;
    const int x0 = std::clamp(x - 2, 0, 2), x1 = std::clamp(x + w - 2, 0, 2), y0 = std::clamp(y - 1, 0, 2),
              y1 = std::clamp(y + h - 1, 0, 2);
    part.rect[std::size_t(i)] = r != 0 && x1 > x0 && y1 > y0 ? x0 | y0 << 8 | (x1 - x0) << 16 | (y1 - y0) << 24 : 0;
  }
  const auto a = render(whole), b = render(part);
  for (int y = 0; y < 32; ++y)
    for (int x = 0; x < 32; ++x)
      for (int c = 0; c < 3; ++c)
        ASSERT_NEAR(b[std::size_t(3 * (32 * y + x) + c)], a[std::size_t(3 * (80 * (y + 16) + x + 32) + c)], 1e-12);
}

TEST(RasterizeOracle, OneGaussianIsItsFormula) {
  Splats s{1, 1, 32, 48, {20.25, 14.5, 0.05, 0.01, 0.08, 1.0, 0.1, 0.6, 1.5}, {2}, {0 | 0 << 8 | 3 << 16 | 2 << 24}};
  const auto image = render(s);
  for (int y = 0; y < 32; ++y)
    for (int x = 0; x < 48; ++x) {
      const double dx = 20.25 - x, dy = 14.5 - y;
      double alpha = std::min(0.99, std::exp(-0.5 * (0.05 * dx * dx + 0.08 * dy * dy) - 0.01 * dx * dy));
      if (alpha < 1.0 / 255) alpha = 0;
      for (int c = 0; c < 3; ++c)
        ASSERT_NEAR(image[std::size_t(3 * (48 * y + x) + c)],
                    alpha * s.splat[std::size_t(6 + c)] + (1 - alpha) * kBackground[c], 1e-12);
    }
}

// Published: an alpha that was cut at 0.99 passes its gradient on as if it had not been.
TEST(RasterizeOracle, TheBoundOfAlphaPassesItsGradient) {
  const Stream stream = Stream::create(kCpu, "test");
  Arena arena(kCpu, std::size_t{1} << 30, "render");
  std::vector<double> splat = {8, 8, 0.05, 0.01, 0.08, 1.0, 0.1, 0.6, 1.5}, depth = {2}, image(16 * 16 * 3), dimage(image.size(), 0.0), dsplat(kSplatSize);
  const std::vector<std::int32_t> rect = {1 << 16 | 1 << 24};
  for (int c = 0; c < 3; ++c) dimage[std::size_t(3 * (16 * 8 + 8) + c)] = c + 1;   // of the pixel in the middle, where alpha would be 1
  const View picture = make_view(image.data(), {1, 16, 16, 3}, DType::f64);
  RasterizeState state;
  rasterize_fwd(stream, arena, {.splat = make_view(splat.data(), {1, 1, kSplatSize}, DType::f64), .depth = make_view(depth.data(), {1, 1}, DType::f64),
                                .rect = make_view(static_cast<const void*>(rect.data()), {1, 1}, DType::i32),
                                .background = {kBackground[0], kBackground[1], kBackground[2]}, .image = picture}, &state);
  rasterize_bwd(stream, arena, {.background = {kBackground[0], kBackground[1], kBackground[2]}, .image = picture,
                                .dimage = make_view(dimage.data(), {1, 16, 16, 3}, DType::f64), .dsplat = make_view(dsplat.data(), {1, 1, kSplatSize}, DType::f64)}, state);
  double wanted = 0;
  for (int c = 0; c < 3; ++c) wanted += (splat[std::size_t(6 + c)] - kBackground[c]) * (c + 1);
  EXPECT_NEAR(image[3 * (16 * 8 + 8)], 0.99 * 0.1 + 0.01 * kBackground[0], 1e-9);
  EXPECT_NEAR(dsplat[5], wanted, 1e-9);
}

TEST(RasterizeOracle, StopsBeforeTheSplatThatWouldBringTransmittanceBelowTheLimit) {
  // Three splats of alpha 0.98 at the middle: T = 0.02, 4e-4, then 8e-6 < 1e-4: the third is dropped.
  Splats s{1, 3, 16, 16, {}, {1, 2, 3}, {}};
  for (int i = 0; i < 3; ++i) {
    for (double x : {8.0, 8.0, 0.01, 0.0, 0.01, 0.98, i == 0 ? 1.0 : 0.0, i == 1 ? 1.0 : 0.0, i == 2 ? 1.0 : 0.0})
      s.splat.push_back(x);
    s.rect.push_back(1 << 16 | 1 << 24);
  }
  const auto image = render(s);
  const double* p = image.data() + 3 * (16 * 8 + 8);
  EXPECT_NEAR(p[0], 0.98 + 4e-4 * kBackground[0], 1e-12);
  EXPECT_NEAR(p[1], 0.98 * 0.02 + 4e-4 * kBackground[1], 1e-12);
  EXPECT_NEAR(p[2], 4e-4 * kBackground[2], 1e-12);
}

}  // namespace
}  // namespace mfl::test
