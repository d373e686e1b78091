#include <cmath>

#include "data/preprocess/frame_plan.h"
#include "data/preprocess/linear.h"
#include "data/preprocess/mask.h"
#include "data/preprocess/visual_hull.h"
#include "data/preprocess/warp.h"
#include "tests/data/support.h"

namespace mfl::data::preprocess {
namespace {

Image grey(const std::vector<std::string>& rows) {
  Image im(static_cast<int>(rows[0].size()), static_cast<int>(rows.size()), 1);
  for (int y = 0; y < im.height; ++y)
    for (int x = 0; x < im.width; ++x)
      im.row(y)[x] = rows[static_cast<std::size_t>(y)][static_cast<std::size_t>(x)] == '#' ? 128 : 127;
  return im;
}
std::vector<std::string> drawn(const Mask& m) {
  std::vector<std::string> rows;
  for (int y = 0; y < m.image.height; ++y) {
    rows.emplace_back();
    for (int x = 0; x < m.image.width; ++x) rows.back() += m.image.row(y)[x] ? '#' : '.';
  }
  return rows;
}

TEST(Mask, KeepsTheLargestComponentAboveTheThreshold) {
  Mask m;
  find_mask(grey({"##...#...", "......##.", "...#...#.", "..#.#.#..", "...#.#...", ".........", "#........"}), m);
  EXPECT_EQ(drawn(m), (std::vector<std::string>{".....#...", "......##.", "...#...#.", "..#.#.#..", "...#.#...",
                                                ".........", "........."}));
  EXPECT_EQ(m.area, 10);
  EXPECT_EQ(m.dropped, 3);
  EXPECT_EQ(m.left, 2);
  EXPECT_EQ(m.right, 8);
  EXPECT_EQ(m.top, 0);
  EXPECT_EQ(m.bottom, 5);
  EXPECT_TRUE(m.on_border);
  find_mask(grey({".....", ".##..", ".##..", "....."}), m);
  EXPECT_EQ(m.u, 1.5);
  EXPECT_EQ(m.v, 1.5);
  EXPECT_FALSE(m.on_border);
  find_mask(grey({"...", "..."}), m);
  EXPECT_EQ(m.area, 0);
}

// Against the plain flood fill, on noise.
TEST(Mask, AgreesWithAFloodFill) {
  for (std::uint32_t seed = 0; seed < 40; ++seed) {
    Image im(23, 17, 1);
    std::uint32_t x = seed * 747796405u + 1;
    for (auto& p : im.pixels) x = x * 1664525u + 1013904223u, p = (x >> 24) < 90 + seed ? 255 : 0;
    std::vector<int> label(im.pixels.size(), -1);
    std::vector<std::int64_t> area;
    for (std::size_t start = 0; start < label.size(); ++start) {
      if (label[start] >= 0 || !im.pixels[start]) continue;
      std::vector<std::size_t> stack{start};
      label[start] = static_cast<int>(area.size()), area.push_back(0);
      while (!stack.empty()) {
        const std::size_t at = stack.back();
        stack.pop_back();
        ++area.back();
        for (int dy = -1; dy <= 1; ++dy)
          for (int dx = -1; dx <= 1; ++dx) {
            const int px = static_cast<int>(at) % 23 + dx, py = static_cast<int>(at) / 23 + dy;
            if (px < 0 || py < 0 || px >= 23 || py >= 17) continue;
            const auto to = static_cast<std::size_t>(py * 23 + px);
            if (im.pixels[to] && label[to] < 0) label[to] = label[start], stack.push_back(to);
          }
      }
    }
    Mask m;
    find_mask(im, m);
    if (area.empty()) continue;
    const auto best = std::max_element(area.begin(), area.end());
    EXPECT_EQ(m.area, *best);
    for (std::size_t i = 0; i < label.size(); ++i)
      EXPECT_EQ(m.image.pixels[i] == 255, label[i] == best - area.begin()) << "seed " << seed;
  }
}

// A coloured disc on a background of another colour; its mask.
struct Disc {
  Image rgb{300, 200, 3};
  Mask mask;
  double u = 160.25, v = 90.75, radius = 41;  // corner convention
  Disc() {
    Image luma(300, 200, 1);
    for (int y = 0; y < 200; ++y)
      for (int x = 0; x < 300; ++x) {
        const bool inside = std::hypot(x + 0.5 - u, y + 0.5 - v) < radius;
        luma.row(y)[x] = inside ? 255 : 0;
        const std::uint8_t colour[3] = {200, 100, 50}, background[3] = {0, 255, 0};
        for (int k = 0; k < 3; ++k) rgb.row(y)[3 * x + k] = inside ? colour[k] : background[k];
      }
    find_mask(luma, mask);
  }
};

TEST(Warp, KeepsAreaPlaceAndColourWhenMinifying) {
  const Disc disc;
  for (const double r : {0.11, 0.335, 0.5, 0.77, 1.0, 2.2}) {
    SCOPED_TRACE(r);
    const double a = 0.3, c = r * std::cos(a), s = r * std::sin(a);
    const Mat3 h{c, -s, 128 - c * disc.u + s * disc.v + 3.3, s, c, 128 - s * disc.u - c * disc.v - 2.1, 0, 0, 1};
    const Image out = warp_masked(disc.rgb, disc.mask, h, 256);
    double area = 0, u = 0, v = 0;
    for (int y = 0; y < 256; ++y)
      for (int x = 0; x < 256; ++x) {
        const std::uint8_t* p = out.row(y) + 4 * x;
        area += p[3] / 255.0, u += p[3] / 255.0 * (x + 0.5), v += p[3] / 255.0 * (y + 0.5);
        if (!p[3]) {
          EXPECT_EQ(p[0] + p[1] + p[2], 0);
          continue;
        }
        // Not a trace of the background, in the thinnest edge pixel neither.
        EXPECT_NEAR(p[0], 200, 1);
        EXPECT_NEAR(p[1], 100, 1);
        EXPECT_NEAR(p[2], 50, 1);
      }
    EXPECT_NEAR(area, disc.mask.area * r * r, 0.004 * disc.mask.area * r * r + 0.2);
    EXPECT_NEAR(u / area, 131.3 + c * (disc.mask.u + 0.5 - disc.u) - s * (disc.mask.v + 0.5 - disc.v), 0.01);
    EXPECT_NEAR(v / area, 125.9 + s * (disc.mask.u + 0.5 - disc.u) + c * (disc.mask.v + 0.5 - disc.v), 0.01);
  }
}

// Stripes of one pixel: a filter that picks pixels would make a moire of them.
TEST(Warp, AveragesWhatIsTooFineToSee) {
  Image rgb(240, 240, 3), luma(240, 240, 1);
  for (int y = 0; y < 240; ++y)
    for (int x = 0; x < 240; ++x) {
      luma.row(y)[x] = 255;
      for (int k = 0; k < 3; ++k) rgb.row(y)[3 * x + k] = (x + y) % 2 ? 255 : 0;
    }
  Mask mask;
  find_mask(luma, mask);
  const Image out = warp_masked(rgb, mask, {1 / 3.0, 0, 5, 0, 1 / 3.0, 5, 0, 0, 1}, 90);
  for (int y = 7; y < 83; ++y)
    for (int x = 7; x < 83; ++x) EXPECT_NEAR(out.row(y)[4 * x], 127.5, 8) << x << ", " << y;
}

TEST(Warp, TheIdentityChangesNothingInside) {
  const Disc disc;
  const Image out = warp_masked(disc.rgb, disc.mask, {1, 0, 0, 0, 1, 0, 0, 0, 1}, 256);
  for (int y = 0; y < 200; ++y)
    for (int x = 0; x < 256; ++x) {
      bool deep = true;
      for (int dy = -1; dy <= 1; ++dy)
        for (int dx = -1; dx <= 1; ++dx)
          deep = deep && x + dx >= 0 && y + dy >= 0 && y + dy < 200 && disc.mask.image.row(y + dy)[x + dx];
      if (deep) {
        EXPECT_EQ(out.row(y)[4 * x + 3], 255);
      }
    }
}

// A ball in front of six cameras: its hull is centred on it.
TEST(VisualHull, IsCentredOnABall) {
  const Vec3 ball{12, -7, 30};
  const double radius = 25;
  std::vector<RawCamera> rig;
  std::vector<Mask> masks(6);
  for (int k = 0; k < 6; ++k) {
    const double a = k * 1.05;
    RawCamera c;
    c.width = 320, c.height = 240, c.K = {500, 0, 160, 0, 500, 120, 0, 0, 1};
    const Vec3 p{300 * std::cos(a), 300 * std::sin(a), 60 + 20.0 * k}, f = unit(minus({0, 0, 20}, p)),
                                                                       r = unit(cross(f, {0, 0, 1}));
    c.R = rows(r, cross(f, r), f);
    c.T = scaled_by(-1, product(c.R, p));
    Image luma(320, 240, 1);
    for (int y = 0; y < 240; ++y)
      for (int x = 0; x < 320; ++x) {
        const Vec3 d = unit(product(transposed(c.R), product(inverse(c.K), Vec3{double(x), double(y), 1})));
        luma.row(y)[x] = length(cross(minus(ball, p), d)) < radius ? 255 : 0;
      }
    find_mask(luma, masks[static_cast<std::size_t>(k)]);
    rig.push_back(c);
  }
  std::vector<const Mask*> all;
  for (const Mask& m : masks) all.push_back(&m);
  EXPECT_LT(length(minus(hull_centre(rig, all, {0, 0, 20}, "test"), ball)), 1.0);
  std::swap(all[0], all[3]);
  std::swap(all[1], all[4]);
  masks[2].left = masks[2].right = 5;
  EXPECT_TRUE(test::mentions(test::message_of([&] {
                               hull_centre(rig, all, {0, 0, 20}, "frame 7");
                             }),
                             {"frame 7", "contradict"}));
}

std::int64_t count(const FramePlan& p, Split s) {
  return std::count_if(p.frames.begin(), p.frames.end(), [&](const PlannedFrame& f) { return f.split == s; });
}

TEST(FramePlan, ByTimeWithAGuard) {
  FramePlanOptions o;
  o.frames = 18000, o.frames_per_second = 100, o.interval = 5, o.num_samples = 3600, o.val_ratio = 0.1,
  o.test_ratio = 0.1;
  const FramePlan p = plan_frames(o);
  EXPECT_EQ(p.guarded, 2 * 19);
  EXPECT_EQ(count(p, Split::train), 2880 - 19);
  EXPECT_EQ(count(p, Split::val), 360 - 19);
  EXPECT_EQ(count(p, Split::test), 360);
  EXPECT_EQ(p.frames.back().raw_frame, 17995);
  std::int64_t last_train = 0, first_val = 18000;
  for (const PlannedFrame& f : p.frames) {
    EXPECT_EQ(f.raw_frame % 5, 0);
    if (f.split == Split::train) last_train = f.raw_frame;
    if (f.split == Split::val) first_val = std::min(first_val, f.raw_frame);
  }
  EXPECT_GE(first_val - last_train, 100);
}

TEST(FramePlan, SpreadsSamplesEvenly) {
  FramePlanOptions o;
  o.frames = 120, o.frames_per_second = 20;
  const FramePlan all = plan_frames(o);
  EXPECT_EQ(static_cast<std::int64_t>(all.frames.size()) + all.guarded, 120);
  o.num_samples = 10, o.guard_seconds = 0;
  const FramePlan ten = plan_frames(o);
  ASSERT_EQ(ten.frames.size(), 10u);
  for (std::size_t i = 0; i < 10; ++i) EXPECT_EQ(ten.frames[i].raw_frame, static_cast<std::int64_t>(12 * i));
  EXPECT_EQ(count(ten, Split::val), 2);
}

TEST(FramePlan, RandomIsRepeatableAndLeaks) {
  FramePlanOptions o;
  o.frames = 18000, o.frames_per_second = 100, o.num_samples = 2000, o.split = SplitMode::random;
  const FramePlan a = plan_frames(o), b = plan_frames(o);
  EXPECT_EQ(count(a, Split::val), 400);
  for (std::size_t i = 0; i < a.frames.size(); ++i) EXPECT_EQ(a.frames[i].split, b.frames[i].split);
  EXPECT_NEAR(a.distance_seconds, 0.09, 1e-9) << "a validation frame's neighbour trains";
  o.seed = 43;
  const FramePlan c = plan_frames(o);
  EXPECT_FALSE(std::equal(a.frames.begin(), a.frames.end(), c.frames.begin(),
                          [](const auto& x, const auto& y) { return x.split == y.split; }));
  o.split = SplitMode::time;
  EXPECT_GE(plan_frames(o).distance_seconds, 1);
}

TEST(FramePlan, RefusesWhatCannotBe) {
  const auto said = [](auto change) {
    FramePlanOptions o;
    o.frames = 40, o.frames_per_second = 20;
    change(o);
    try {
      plan_frames(o);
    } catch (const ConfigError& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_TRUE(test::mentions(said([](auto& o) { o.num_samples = 0; }), {"--num_samples"}));
  EXPECT_TRUE(test::mentions(said([](auto& o) { o.interval = -1; }), {"--interval"}));
  EXPECT_TRUE(test::mentions(said([](auto& o) { o.val_ratio = 0.7, o.test_ratio = 0.4; }), {"--val_ratio"}));
  EXPECT_TRUE(test::mentions(said([](auto& o) { o.guard_seconds = 2; }), {"--guard", "train"}));
  EXPECT_TRUE(test::mentions(said([](auto& o) { o.num_samples = 1; }), {"none for training"}));
}

}  // namespace
}  // namespace mfl::data::preprocess
