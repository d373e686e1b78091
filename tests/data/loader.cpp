// Sampler, view selection, pixels of a batch, and the loader's promises.
#include "data/loader.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>
#include <set>

#include "data/hdf5_file.h"
#include "tests/data/support.h"

namespace mfl::data {
namespace {
using namespace test;

std::vector<Pick> global_batch(SamplerOptions o, std::uint64_t step) {
  std::vector<Pick> all;
  for (o.rank = 0; o.rank < o.world; ++o.rank) {
    Sampler s(o);
    for (const Pick& p : s.picks(step)) all.push_back(p);
  }
  return all;
}

TEST(Sampler, VisitsEverySampleOnceAnEpochOnAnyNumberOfRanks) {
  for (int world : {1, 2, 4}) {
    std::map<std::int64_t, int> seen;
    SamplerOptions o{.size = 24, .batch = 4 / world, .world = world};
    const std::int64_t steps = Sampler(o).steps_per_epoch();
    EXPECT_EQ(steps, 6);
    for (std::int64_t step = 0; step < 2 * steps; ++step)
      for (const Pick& p : global_batch(o, step)) {
        EXPECT_EQ(p.pass, static_cast<std::uint64_t>(step / steps));
        ++seen[p.sample];
      }
    EXPECT_EQ(seen.size(), 24u);
    for (const auto& [sample, times] : seen) EXPECT_EQ(times, 2) << sample;
  }
}

TEST(Sampler, OrderDoesNotDependOnRanks) {
  for (std::int64_t size : {24, 26, 3}) {
    const SamplerOptions one{.size = size, .batch = 4}, two{.size = size, .batch = 2, .world = 2}, four{.size = size, .batch = 1, .world = 4};
    for (std::uint64_t step = 0; step < 30; ++step) {
      EXPECT_EQ(global_batch(one, step), global_batch(two, step));
      EXPECT_EQ(global_batch(one, step), global_batch(four, step));
    }
  }
}

// Runs that go on with another number of ranks or another batch take what comes next in the row.
TEST(Sampler, GoesOnFromAPositionWithAnyGlobalBatch) {
  for (const std::int64_t size : {24, 26, 5}) {
    std::vector<Pick> row;
    SamplerOptions o{.size = size};
    std::uint64_t dropped = 0;
    for (const auto& [batch, world, steps] : {std::array{1, 4, 5}, {2, 2, 4}, {4, 1, 3}, {1, 3, 11}, {3, 2, 7}, {2, 2, 9}}) {
      o.batch = batch, o.world = world;
      Sampler s(o);
      EXPECT_EQ(s.behind(0), o.start);
      for (int step = 0; step < steps; ++step) {
        EXPECT_EQ(s.begin(std::uint64_t(step)) + std::uint64_t(batch * world), s.behind(std::uint64_t(step) + 1));
        const std::uint64_t before = s.behind(std::uint64_t(step)), left = s.begin(std::uint64_t(step)) - before;
        EXPECT_LT(left, std::uint64_t(batch * world));   // of an epoch, too few for a step
        if (left > 0) {
          EXPECT_EQ((before + left) % std::uint64_t(size), 0u);
        }
        dropped += left;
        for (const Pick& p : global_batch(o, std::uint64_t(step))) row.push_back(p);
      }
      o.start = s.behind(std::uint64_t(steps));
    }
    EXPECT_EQ(row.size() + dropped, o.start);
    std::set<std::pair<std::int64_t, std::uint64_t>> uses;
    for (const Pick& p : row) EXPECT_TRUE(uses.insert({p.sample, p.pass}).second) << "sample " << p.sample << " twice in pass " << p.pass;
  }
}

TEST(Sampler, IsAPureFunctionOfTheStep) {
  const SamplerOptions o{.size = 10, .batch = 3};
  Sampler forward(o), jump(o);
  std::vector<std::vector<Pick>> all;
  for (int step = 0; step < 9; ++step) all.push_back(forward.picks(step));
  for (int step = 8; step >= 0; --step) EXPECT_EQ(jump.picks(step), all[step]);
  EXPECT_NE(all[0], all[3]);   // another epoch, another order
  SamplerOptions other = o;
  other.seed = 1;
  EXPECT_NE(Sampler(other).picks(0), all[0]);
}

TEST(Sampler, ASmallSetGoesAroundWithoutLosingASample) {
  const SamplerOptions o{.size = 3, .batch = 2, .world = 4};
  Sampler s(o);
  EXPECT_TRUE(s.wraps());
  EXPECT_EQ(s.steps_per_epoch(), 1);
  std::map<std::int64_t, int> seen;
  std::set<std::pair<std::int64_t, std::uint64_t>> uses;
  for (int step = 0; step < 3; ++step)
    for (const Pick& p : global_batch(o, step)) ++seen[p.sample], uses.insert({p.sample, p.pass});
  for (const auto& [sample, times] : seen) EXPECT_EQ(times, 8) << sample;
  EXPECT_EQ(uses.size(), 24u);   // no use has the draws of another
}

TEST(Sampler, ValidationIsOnePassInFileOrder) {
  const SamplerOptions o{.size = 5, .batch = 1, .world = 2, .once = true};
  EXPECT_EQ(Sampler(o).steps_per_epoch(), 3);
  std::vector<std::int64_t> order;
  for (int step = 0; step < 4; ++step)
    for (const Pick& p : global_batch(o, step)) order.push_back(p.sample);
  EXPECT_EQ(order, (std::vector<std::int64_t>{0, 1, 2, 3, 4}));
  EXPECT_TRUE(mentions(message_of([] { Sampler({.size = 0}); }), {"empty"}));
}

class LoaderTest : public ::testing::Test {
 protected:
  std::shared_ptr<const Dataset> dataset(DatasetOptions o) { return std::make_shared<Dataset>(reader, o); }
  static DatasetOptions small() {
    DatasetOptions o;
    o.image_size = 16, o.num_views = 4, o.num_input_views = 2;
    return o;
  }
  TempFolder folder;
  std::string path = make_file(folder, 7, 8, 16);
  std::shared_ptr<const ViewReader> reader = std::make_shared<ViewReader>(path);
};

TEST_F(LoaderTest, ViewsAreSortedInputsThenSortedTargets) {
  std::set<std::vector<int>> kinds;
  bool beyond_60 = false;   // the published bound, cos 60 degrees, is on positions at radius 2.7: some 86 degrees
  for (ViewRule rule : {ViewRule::random, ViewRule::overlap}) {
    DatasetOptions o = small();
    o.rule = rule;
    const auto d = dataset(o);
    for (std::uint64_t pass = 0; pass < 50; ++pass) {
      const std::vector<int> v = d->plan({2, pass}).views;
      ASSERT_EQ(v.size(), 4u);
      EXPECT_EQ(std::set<int>(v.begin(), v.end()).size(), 4u);
      EXPECT_TRUE(v[0] < v[1] && v[2] < v[3]);
      kinds.insert(v);
      if (rule != ViewRule::overlap) continue;
      for (int t : {2, 3}) {
        double best = -10;
        for (int i : {0, 1}) {
          const Vec3 a = position(reader->camera(2, v[t])), b = position(reader->camera(2, v[i]));
          best = std::max(best, a[0] * b[0] + a[1] * b[1] + a[2] * b[2]);
        }
        EXPECT_GE(best, 0.5);
        beyond_60 |= best < 0.5 * 2.7 * 2.7;
      }
    }
  }
  EXPECT_GT(kinds.size(), 40u);
  EXPECT_TRUE(beyond_60);
  DatasetOptions o = small();
  o.rule = ViewRule::fixed;
  EXPECT_EQ(dataset(o)->plan({0, 9}).views, (std::vector<int>{0, 1, 2, 3}));
}

TEST_F(LoaderTest, TooFewViewsIsNamed) {
  DatasetOptions o = small();
  o.num_views = 9;
  EXPECT_TRUE(mentions(message_of([&] { dataset(o); }), {"scenes.h5", "scene_000000", "8 views", "num_views", "9"}));
  o.rule = ViewRule::fixed, o.fewer_views = true;
  EXPECT_EQ(dataset(o)->num_views(), 8);
  // A small rig: no view overlaps with another by the published rule.
  SceneOptions tiny;
  tiny.radius = 0.5, tiny.views = 4, tiny.image_size = 8;
  PackInfo info;
  info.width = info.height = 8, info.samples = 1, info.max_views = 4;
  {
    ViewWriter w(folder / "tiny.h5", info, false);
    w.add(make_scene(tiny, 0));
    w.finish();
  }
  o = small();
  o.rule = ViewRule::overlap;
  const Dataset d(std::make_shared<ViewReader>(folder / "tiny.h5"), o);
  EXPECT_TRUE(mentions(message_of([&] { d.plan({0, 0}); }), {"tiny.h5", "scene_000000", "overlap", "maximize_view_overlap"}));
}

TEST_F(LoaderTest, PixelsAreTheCompositedImage) {
  for (const char* colour : {"white", "black", "gray", "0.25", "random", "three_choices"}) {
    DatasetOptions o = small();
    o.background = parse_background(colour);
    const auto d = dataset(o);
    const SamplePlan p = d->plan({3, 1});
    std::vector<float> out(16 * 16 * 4);
    RawView raw;
    reader->read_raw(3, p.views[1], raw);
    d->render(p, 1, raw, out.data());
    const Image source = reader->read(3, p.views[1]);
    for (int c = 0; c < 3; ++c) EXPECT_EQ(p.background8[c], static_cast<int>(p.background[c] * 255)) << colour;
    for (std::size_t i = 0; i < 256; ++i) {
      const double a = source.pixels[4 * i + 3] / 255.0;
      EXPECT_EQ(out[4 * i + 3], static_cast<float>(source.pixels[4 * i + 3]) / 255.0f);
      for (std::size_t c = 0; c < 3; ++c)
        EXPECT_NEAR(out[4 * i + c], (a * source.pixels[4 * i + c] + (1 - a) * p.background8[c]) / 255, 0.51 / 255);
    }
  }
  EXPECT_EQ(parse_background("gray").value, 0.5);
  EXPECT_THROW(parse_background("grey-ish"), ConfigError);
  EXPECT_THROW(parse_background("1.5"), ConfigError);
}

TEST_F(LoaderTest, AlphaFollowsTheKeys) {
  DatasetOptions o = small();
  EXPECT_EQ(dataset(o)->channels(), 4);
  o.remove_alpha = true;
  EXPECT_EQ(dataset(o)->channels(), 3);
  o.auto_mask = true;   // alpha from near-white pixels of the composite
  const auto d = dataset(o);
  ASSERT_EQ(d->channels(), 4);
  const SamplePlan p = d->plan({0, 0});
  std::vector<float> out(16 * 16 * 4);
  RawView raw;
  reader->read_raw(0, p.views[0], raw);
  d->render(p, 0, raw, out.data());
  int background = 0;
  for (std::size_t i = 0; i < 256; ++i) {
    const bool white = out[4 * i] > 250 / 255.0f && out[4 * i + 1] > 250 / 255.0f && out[4 * i + 2] > 250 / 255.0f;
    EXPECT_EQ(out[4 * i + 3], white ? 0.0f : 1.0f);
    background += white;
  }
  EXPECT_GT(background, 100);
}

// A white ground below the threshold after a brightness of 0.9 is ground all the same.
TEST_F(LoaderTest, BrightnessMakesNoForegroundOfTheGround) {
  Sample s = make_scene({.views = 4, .image_size = 16}, 0);
  for (View& v : s.views) {
    v.image = Image(16, 16, 3);
    std::fill(v.image.pixels.begin(), v.image.pixels.end(), std::uint8_t{255});
    std::fill_n(v.image.row(5) + 3 * 4, 3 * 6, std::uint8_t{90});
  }
  PackInfo info;
  info.width = info.height = 16, info.samples = 1, info.max_views = 4;
  {
    ViewWriter w(folder / "opaque.h5", info, false);
    w.add(s);
    w.finish();
  }
  DatasetOptions o = small();
  o.auto_mask = true;
  o.augmentation = Augmentation{false, 0, {0.9, 0.9}, {1, 1}};
  const Dataset d(std::make_shared<ViewReader>(folder / "opaque.h5"), o);
  const SamplePlan p = d.plan({0, 0});
  std::vector<float> out(16 * 16 * 4);
  RawView raw;
  d.reader().read_raw(0, p.views[0], raw);
  d.render(p, 0, raw, out.data());
  for (int i = 0; i < 256; ++i) EXPECT_EQ(out[std::size_t(4 * i + 3)], i / 16 == 5 && i % 16 >= 4 && i % 16 < 10 ? 1.0f : 0.0f) << i;
  EXPECT_LT(out[0], 0.95f);
}

TEST_F(LoaderTest, CamerasAreScaledAndNormalised) {
  DatasetOptions o = small();
  o.image_size = 32;
  const SamplePlan p = dataset(o)->plan({1, 0});
  for (std::size_t k = 0; k < 4; ++k) {
    const Camera& c = reader->camera(1, p.views[k]);
    EXPECT_EQ(p.fxfycxcy[k][0], static_cast<float>(c.fx * 2));
    const Mat4 m = inverse(c.w2c);
    for (int i = 0; i < 16; ++i) EXPECT_EQ(p.c2w[k][i], static_cast<float>(m[i]));
  }
  o.normalise = CameraNormalisation{true, false, 1.5};
  const SamplePlan q = dataset(o)->plan({1, 0});
  for (const auto& m : q.c2w) EXPECT_NEAR(std::hypot(m[3], m[7], m[11]), 1.5, 1e-6);
}

// A flipped and rolled sample is still a picture of one (mirrored) scene: a marked world point stays on its pixel.
TEST_F(LoaderTest, AugmentationKeepsPixelsAndCamerasTogether) {
  DatasetOptions o = small();
  o.num_views = 8;
  o.augmentation = Augmentation{true, 20, {1, 1}, {1, 1}};
  const auto d = dataset(o);
  // The foreground's centroid, seen from all around, is near the projection of the scene's centre.
  int flips = 0;
  for (std::uint64_t pass = 0; pass < 8; ++pass) {
    const SamplePlan p = d->plan({0, pass});
    flips += p.flip;
    std::vector<float> out(16 * 16 * 4), plain(16 * 16 * 4);
    for (int k = 0; k < 8; ++k) {
      RawView raw;
      reader->read_raw(0, p.views[k], raw);
      d->render(p, k, raw, out.data());
      SamplePlan still = p;
      still.flip = false, still.rotation = 0;
      d->render(still, k, raw, plain.data());
      const auto centroid = [](const std::vector<float>& im) {
        double x = 0, y = 0, w = 0;
        for (int i = 0; i < 256; ++i) x += im[4 * i + 3] * (i % 16 + 0.5), y += im[4 * i + 3] * (i / 16 + 0.5), w += im[4 * i + 3];
        return std::array<double, 2>{x / w, y / w};
      };
      const auto before = centroid(plain), after = centroid(out);
      // The world point at the centroid's ray, at the depth of the origin, through the original and the augmented camera.
      const Camera& c = reader->camera(0, p.views[k]);
      const Mat4 m = inverse(c.w2c);
      const double u = (before[0] - c.cx) / c.fx * 2.7, v = (before[1] - c.cy) / c.fy * 2.7;
      Vec3 world;
      for (int i = 0; i < 3; ++i) world[i] = m[4 * i] * u + m[4 * i + 1] * v + m[4 * i + 2] * 2.7 + m[4 * i + 3];
      if (p.flip) world[0] = -world[0];
      Mat4 c2w;
      for (int i = 0; i < 16; ++i) c2w[i] = p.c2w[k][i];
      const Mat4 w = inverse(c2w);
      Vec3 at;
      for (int i = 0; i < 3; ++i) at[i] = w[4 * i] * world[0] + w[4 * i + 1] * world[1] + w[4 * i + 2] * world[2] + w[4 * i + 3];
      EXPECT_NEAR(p.fxfycxcy[k][0] * at[0] / at[2] + p.fxfycxcy[k][2], after[0], 0.15) << pass << ' ' << k;
      EXPECT_NEAR(p.fxfycxcy[k][1] * at[1] / at[2] + p.fxfycxcy[k][3], after[1], 0.15) << pass << ' ' << k;
    }
  }
  EXPECT_GT(flips, 0);
  EXPECT_LT(flips, 8);
}

template <class T>
std::vector<T> values(const Tensor& t) {
  return {t.data<T>(), t.data<T>() + t.numel()};
}
struct Taken {
  std::vector<float> image, c2w, k, background;
  std::vector<std::int64_t> index;
  std::vector<std::string> names;
  bool operator==(const Taken&) const = default;
};
Taken take(const Batch& b) {
  return {values<float>(b.image), values<float>(b.c2w), values<float>(b.fxfycxcy), values<float>(b.background), values<std::int64_t>(b.index), b.names};
}

TEST_F(LoaderTest, BatchesDoNotDependOnWorkersOrTheStart) {
  DatasetOptions o = small();
  o.background = parse_background("random");
  o.augmentation = Augmentation{true, 5, {0.9, 1.1}, {0.9, 1.1}};
  const SamplerOptions s{.batch = 2};
  std::vector<Taken> expected;
  Loader plain(dataset(o), s, {.workers = 0});
  EXPECT_EQ(plain.steps_per_epoch(), 3);
  for (int step = 0; step < 10; ++step) expected.push_back(take(plain.next()));
  EXPECT_NE(expected[0], expected[3]);
  for (int workers : {1, 3}) {
    Loader l(dataset(o), s, {.workers = workers, .prefetch = 3});
    for (int step = 0; step < 10; ++step) {
      const Batch& b = l.next();
      EXPECT_EQ(b.step, step);
      EXPECT_EQ(take(b), expected[step]) << workers << " workers, step " << step;
    }
  }
  Loader before(dataset(o), s, {.workers = 1});
  EXPECT_EQ(before.position(), 0u);
  for (int step = 0; step < 7; ++step) (void)before.next();
  SamplerOptions later = s;
  later.start = before.position();
  Loader resumed(dataset(o), later, {.workers = 2});
  for (int step = 7; step < 10; ++step) EXPECT_EQ(take(resumed.next()), expected[step]);
}

TEST_F(LoaderTest, CropsAreWindowsOfTheImagesWithShiftedCameras) {
  DatasetOptions o = small();
  o.crop_size = o.image_size / 2;
  const auto d = dataset(o);
  Loader loader(d, {.batch = 2, .seed = 5}, {.workers = 2, .prefetch = 2});
  std::set<std::pair<int, int>> corners;
  for (int step = 0; step < 6; ++step) {
    const Batch& b = loader.next();
    const std::int64_t S = o.image_size, c = o.crop_size, C = b.image.shape()[4], images = b.image.shape()[0] * b.image.shape()[1];
    ASSERT_EQ(b.target.shape(), (Shape{b.image.shape()[0], b.image.shape()[1], c, c, C}));
    for (std::int64_t n = 0; n < images; ++n) {
      const float *k = b.fxfycxcy.data<float>() + 4 * n, *shifted = b.target_fxfycxcy.data<float>() + 4 * n;
      EXPECT_EQ(shifted[0], k[0]);
      EXPECT_EQ(shifted[1], k[1]);
      const auto x = std::int64_t(std::lround(k[2] - shifted[2])), y = std::int64_t(std::lround(k[3] - shifted[3]));
      ASSERT_TRUE(x >= 0 && x < S - c && y >= 0 && y < S - c) << x << ' ' << y;   // published: the last offset is never drawn
      corners.insert({int(x), int(y)});
      for (std::int64_t v = 0; v < c; ++v)
        ASSERT_EQ(0, std::memcmp(b.target.data<float>() + (n * c + v) * c * C,
                                 b.image.data<float>() + ((n * S + y + v) * S + x) * C, std::size_t(c * C) * sizeof(float)));
    }
  }
  EXPECT_GT(corners.size(), 5u);   // each view its own
}

TEST_F(LoaderTest, RanksShareTheGlobalBatch) {
  const DatasetOptions o = small();
  Loader whole(dataset(o), {.batch = 2}, {.workers = 1});
  Loader first(dataset(o), {.batch = 1, .rank = 0, .world = 2}, {.workers = 1});
  Loader second(dataset(o), {.batch = 1, .rank = 1, .world = 2}, {.workers = 1});
  for (int step = 0; step < 6; ++step) {
    const Batch& b = whole.next();
    std::vector<float> joined = values<float>(first.next().image);
    const auto rest = values<float>(second.next().image);
    joined.insert(joined.end(), rest.begin(), rest.end());
    EXPECT_EQ(joined, values<float>(b.image));
  }
}

TEST_F(LoaderTest, UploadGivesTheCallerItsOwnCopy) {
  Loader l(dataset(small()), {.batch = 2}, {.workers = 2});
  const Stream stream = Stream::create(kCpu, "test");
  Arena arena(kCpu, 1 << 24, "test");
  const Taken host = take(l.next());
  const Batch mine = l.upload(stream, arena);
  EXPECT_EQ(mine.image.shape(), (Shape{2, 4, 16, 16, 4}));
  EXPECT_EQ(mine.num_input_views, 2);
  for (int i = 0; i < 5; ++i) l.next();
  EXPECT_EQ(take(mine), host);
  EXPECT_GE(l.total_wait_seconds(), l.last_wait_seconds());
}

TEST_F(LoaderTest, ValidationEndsWithEmptyBatches) {
  DatasetOptions o = small();
  o.limit = 3;
  Loader l(dataset(o), {.batch = 2, .once = true}, {.workers = 1});
  EXPECT_EQ(l.steps_per_epoch(), 2);
  EXPECT_EQ(l.next().size(), 2);
  EXPECT_EQ(l.next().image.shape(), (Shape{1, 4, 16, 16, 4}));
  EXPECT_EQ(l.next().size(), 0);
}

TEST_F(LoaderTest, AWorkersErrorComesOutOfNextWithTheSamplesName) {
  RawView raw;
  reader->read_raw(4, 5, raw);
  std::fstream f(path, std::ios::in | std::ios::out | std::ios::binary);
  std::vector<char> all{std::istreambuf_iterator<char>(f), {}};
  const auto at = std::search(all.begin(), all.end(), raw.bytes.begin(), raw.bytes.end(),
                              [](char a, std::uint8_t b) { return static_cast<std::uint8_t>(a) == b; });
  ASSERT_NE(at, all.end());
  f.clear();
  f.seekp(at - all.begin() + 9);
  f.put(static_cast<char>(*(at + 9) ^ 1));
  f.close();
  reader = std::make_shared<ViewReader>(path);
  DatasetOptions o = small();
  o.num_views = 8;
  for (int workers : {0, 2}) {
    Loader l(dataset(o), {.batch = 1, .shuffle = false}, {.workers = workers});
    for (int step = 0; step < 4; ++step) EXPECT_EQ(l.next().names[0], text("scene_00000", step));
    EXPECT_TRUE(mentions(message_of([&] { l.next(); }), {"scenes.h5", "scene_000004", "view 5", "checksum"}));
    EXPECT_EQ(l.next().names[0], "scene_000005");   // the caller decides whether to go on
  }
}

TEST(Scenes, AreTheSameFromAnyNumberOfThreadsAndDifferFromEachOther) {
  SceneOptions o;
  o.views = 2, o.image_size = 48;
  const Sample a = make_scene(o, 5), b = make_scene(o, 5), c = make_scene(o, 6);
  EXPECT_EQ(a.views[1].image.pixels, b.views[1].image.pixels);
  EXPECT_NE(a.views[1].image.pixels, c.views[1].image.pixels);
  EXPECT_EQ(a.name, "scene_000005");
  const double share = foreground_share(a.views[0].image);
  EXPECT_GT(share, 0.05);
  EXPECT_LT(share, 0.5);
  int edges = 0;
  for (std::size_t i = 3; i < a.views[0].image.pixels.size(); i += 4) {
    const int v = a.views[0].image.pixels[i];
    edges += v > 0 && v < 255;
  }
  EXPECT_GT(edges, 20);   // alpha is anti-aliased
}

TEST(Scenes, StayInsideTheVolumeThatTheModelSees) {
  // Seen from straight ahead, the object's outermost pixel lies within 0.95 of the axis.
  SceneOptions o;
  o.views = 4, o.image_size = 64, o.elevation_degrees = 0;
  for (int i = 0; i < 10; ++i)
    for (const View& v : make_scene(o, i).views)
      for (int x = 0; x < 64; ++x)
        for (int y = 0; y < 64; ++y)
          if (v.image.row(y)[4 * x + 3] > 0) {
            EXPECT_LT(std::abs(x + 0.5 - 32) / v.camera.fx * (2.7 - 0.95), 0.95) << i;
          }
}

}  // namespace
}  // namespace mfl::data
