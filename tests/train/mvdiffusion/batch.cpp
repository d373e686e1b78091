#include "train/mvdiffusion/batch.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/train/mvdiffusion/run_support.h"

namespace mfl::mvdiffusion {
namespace {

constexpr int kSide = 12, kStored = 16, kObjects = 5;

class MvDiffusionBatch : public ::testing::Test {
 protected:
  mfl::test::TempFolder root;
  std::shared_ptr<const data::ViewReader> reader;
  void SetUp() override { open({}, {}); }
  void open(const std::vector<int>& slots, const std::vector<int>& ring) {
    test::write_objects(root / "objects.h5", kStored, kObjects, slots, ring);
    reader = std::make_shared<data::ViewReader>((root / "objects.h5").string());
  }
  std::shared_ptr<const ObjectSet> set(ObjectOptions o) const {
    o.side = kSide;
    return std::make_shared<ObjectSet>(reader, o);
  }
  static std::vector<float> pixels(const ObjectSet& s, const ObjectPlan& p) {
    std::vector<float> out(6 * kSide * kSide * 3);
    s.render(p, std::vector<bool>(6, true), out.data());
    return out;
  }
};

TEST_F(MvDiffusionBatch, SlotsHoldTheViewsThatTheirPromptsSay) {
  open({2, 1, 0, 5, 4, 3}, {2, 1, 0, 3, 4, 5});
  const auto fixed = set({.rule = ReferenceRule::fixed, .reference = 3});
  const ObjectPlan a = fixed->plan({.sample = 1, .pass = 0});
  EXPECT_EQ(a.order.views, (std::vector<int>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(a.order.prompts, (std::vector<int>{2, 1, 0, 5, 4, 3}));
  EXPECT_EQ(a.reference_slot, 3);
  const auto random = set({.rule = ReferenceRule::random}), ring = set({.rule = ReferenceRule::ring});
  std::set<int> references;
  for (std::uint64_t pass = 0; pass < 60; ++pass) {
    const ObjectPlan r = random->plan({.sample = 1, .pass = pass}), g = ring->plan({.sample = 1, .pass = pass});
    references.insert(r.order.reference);
    EXPECT_EQ(r.reference_slot, 0);
    EXPECT_EQ(g.reference_slot, 0);
    EXPECT_EQ(g.order.prompts, (std::vector<int>{0, 1, 2, 5, 4, 3}));   // the ring's, whatever the reference
    for (int s = 0; s < 6; ++s) EXPECT_EQ(r.order.views[std::size_t(s)], (r.order.reference + s) % 6);
  }
  EXPECT_EQ(references.size(), 6u);
  EXPECT_THROW(set({.views = 7}), DataError);
  open({}, {});
  EXPECT_THROW(set({.rule = ReferenceRule::ring}), DataError);
}

TEST_F(MvDiffusionBatch, PixelsAreCompositedOverTheDrawnColour) {
  const auto drawn = set({.background = data::parse_background("three_choices")});
  std::set<float> colours;
  for (std::uint64_t pass = 0; pass < 20; ++pass) {
    const ObjectPlan p = drawn->plan({.sample = 2, .pass = pass});
    colours.insert(p.background[0]);
    const data::Image stored = data::resize_lanczos(reader->read(2, 4), kSide, kSide);
    const std::vector<float> x = pixels(*drawn, p);
    for (int i = 0; i < kSide * kSide; ++i)
      for (int c = 0; c < 3; ++c) {
        const double a = stored.pixels[std::size_t(4 * i + 3)] / 255.0, v = stored.pixels[std::size_t(4 * i + c)] / 255.0;
        ASSERT_NEAR(x[std::size_t((4 * kSide * kSide + i) * 3 + c)], v * a + double(p.background[0]) * (1 - a), 1e-6);
      }
  }
  EXPECT_EQ(colours, (std::set<float>{0, 0.5, 1}));
}

// The formula of FaceLift's mouse data set, evaluated here on the plain pixels.
TEST_F(MvDiffusionBatch, JitterIsOneFactorForAllViewsAboutTheirMean) {
  const data::Background black = data::parse_background("black");
  const auto plain = set({.reference = 2, .background = black}), jittered = set({.reference = 2, .background = black, .jitter = Jitter{}});
  const ObjectPlan p = jittered->plan({.sample = 3, .pass = 7});
  EXPECT_NE(p.brightness, 1);
  EXPECT_GE(p.contrast, 0.9f);
  EXPECT_LE(p.contrast, 1.1f);
  EXPECT_FALSE(jittered->key(p, 0).has_value());
  std::vector<float> x = pixels(*plain, plain->plan({.sample = 3, .pass = 7}));
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = std::clamp(p.brightness * x[i], 0.0f, 1.0f);
    sum += double(x[i]) * (i / std::size_t(kSide * kSide * 3) == 2 ? 2 : 1);   // the reference counts twice
  }
  const double mean = sum / double(7 * kSide * kSide * 3);
  const std::vector<float> y = pixels(*jittered, p);
  for (std::size_t i = 0; i < x.size(); ++i)
    ASSERT_NEAR(y[i], std::clamp((double(x[i]) - mean) * double(p.contrast) + mean, 0.0, 1.0), 1e-6);
}

TEST_F(MvDiffusionBatch, BatchesDependNeitherOnWorkersNorOnRanks) {
  const auto s = set({.rule = ReferenceRule::random, .background = data::parse_background("random"), .jitter = Jitter{}});
  auto draw = [&](int workers, int rank, int world, std::uint64_t step) {
    data::SamplerOptions order{.size = s->size(), .batch = 4 / world, .rank = rank, .world = world, .seed = 1};
    order.start = data::Sampler(order).begin(step);
    ObjectLoader l(s, order, {.workers = workers, .prefetch = 2}, nullptr);
    const ObjectBatch& b = l.next();
    EXPECT_TRUE(b.needs_pixels());
    std::vector<float> all(b.pixels.data<float>(), b.pixels.data<float>() + b.pixels.numel());
    for (int p : b.prompts) all.push_back(float(p));
    for (int r : b.references) all.push_back(float(r));
    return std::pair{b.names, all};
  };
  EXPECT_EQ(draw(0, 0, 1, 2), draw(3, 0, 1, 2));
  EXPECT_NE(draw(0, 0, 1, 2), draw(0, 0, 1, 3));
  const auto whole = draw(0, 0, 1, 0), second = draw(2, 1, 2, 0);
  EXPECT_EQ(second.first, (std::vector<std::string>{whole.first[2], whole.first[3]}));
  const std::size_t half = std::size_t(12) * kSide * kSide * 3;
  EXPECT_TRUE(std::equal(second.second.begin(), second.second.begin() + std::ptrdiff_t(half), whole.second.begin() + std::ptrdiff_t(half)));
}

TEST_F(MvDiffusionBatch, KeysFollowWhatTheEncodersSee) {
  const auto white = set({}), black = set({.background = data::parse_background("black")}), random = set({.background = data::parse_background("random")});
  const ObjectPlan w = white->plan({.sample = 0, .pass = 0}), b = black->plan({.sample = 0, .pass = 0});
  ASSERT_TRUE(white->key(w, 0) && black->key(b, 0));
  EXPECT_NE(*white->key(w, 0), *white->key(w, 1));
  EXPECT_EQ(*white->key(w, 0), *white->key(white->plan({.sample = 0, .pass = 5}), 0));
  EXPECT_EQ(*white->key(w, 0) != *black->key(b, 0), reader->has_alpha(0));
  EXPECT_EQ(random->key(random->plan({.sample = 0, .pass = 0}), 0).has_value(), !reader->has_alpha(0));
}

}  // namespace
}  // namespace mfl::mvdiffusion
