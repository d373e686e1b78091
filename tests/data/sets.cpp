// Sets of several packed files, separate input and target views, and what a damaged image says.
#include <algorithm>
#include <set>

#include "data/image_file.h"
#include "data/list_file.h"
#include "data/loader.h"
#include "data/pack.h"
#include "tests/data/support.h"

namespace mfl::data::test {
namespace {

// A packed file of scenes `first` .. first + samples - 1; every third sample is of validation.
std::string make_split_file(const TempFolder& folder, const std::string& name, int first, int samples) {
  SceneOptions o;
  o.views = 4, o.image_size = 16;
  PackInfo info;
  info.width = info.height = 16, info.samples = samples, info.max_views = 4;
  fs::create_directories(fs::path(folder / name).parent_path());
  ViewWriter w(folder / name, info, false);
  for (int i = 0; i < samples; ++i) {
    Sample s = make_scene(o, first + i);
    s.split = i % 3 == 2 ? Split::val : Split::train;
    w.add(s);
  }
  w.finish();
  return folder / name;
}

TEST(Sets, AListOfPackedFilesIsOneSet) {
  const TempFolder folder;
  make_split_file(folder, "a.h5", 0, 6), make_split_file(folder, "b/c.h5", 10, 3);
  std::ofstream(folder / "set.txt") << "# two animals\na.h5#train\n\n  b/c.h5  \r\n";
  const ViewReader r(folder / "set.txt"), a(folder / "a.h5"), c(folder / "b/c.h5");
  ASSERT_EQ(r.size(), 4 + 3);
  EXPECT_EQ(r.files(), 2);
  EXPECT_EQ(r.sample_name(4), "scene_000010");
  EXPECT_EQ(r.file_of(4), 1);
  EXPECT_EQ(r.file_index(2), 3);   // the third sample of a.h5 is of validation
  EXPECT_EQ(r.file_index(4), 6);
  EXPECT_EQ(r.read(5, 1).pixels, c.read(1, 1).pixels);
  EXPECT_EQ(r.camera(3, 2).w2c, a.camera(4, 2).w2c);
  EXPECT_EQ(verify_file(folder / "set.txt").views, 28);

  // A split of the whole list.
  const ViewReader val(folder / "set.txt#val");
  ASSERT_EQ(val.size(), 5);   // the first entry keeps the split that it names
  std::ofstream(folder / "both.txt") << "a.h5\nb/c.h5\n";
  EXPECT_EQ(ViewReader(folder / "both.txt#val").size(), 2 + 1);
  EXPECT_NE(ViewReader(folder / "both.txt#val").content_hash(), ViewReader(folder / "both.txt").content_hash());

  // The loader takes from all files.
  DatasetOptions o;
  o.image_size = 16, o.num_views = 4, o.num_input_views = 2;
  Loader l(std::make_shared<Dataset>(std::make_shared<ViewReader>(folder / "both.txt"), o), {.batch = 3}, {.workers = 2});
  std::set<std::string> seen;
  for (int step = 0; step < 3; ++step)
    for (const std::string& n : l.next().names) seen.insert(n);
  EXPECT_EQ(seen.size(), 9u);
}

TEST(Sets, NamesAreUniqueAndMistakesAreNamed) {
  const TempFolder folder;
  make_split_file(folder, "x/mouse.h5", 0, 2), make_split_file(folder, "y/mouse.h5", 0, 2);
  std::ofstream(folder / "set.txt") << "x/mouse.h5\ny/mouse.h5\n";
  const ViewReader r(folder / "set.txt");
  EXPECT_EQ(r.sample_name(0), "x/mouse/scene_000000");
  EXPECT_EQ(r.sample_name(2), "y/mouse/scene_000000");
  EXPECT_EQ(r.stored_name(2), "scene_000000");

  const auto said = [&](const char* list) {
    std::ofstream(folder / "bad.txt") << list;
    return message_of([&] { ViewReader bad(folder / "bad.txt"); });
  };
  EXPECT_TRUE(mentions(said("x/mouse.h5\nnone.h5\n"), {"bad.txt, line 2", "none.h5", "does not exist"}));
  EXPECT_TRUE(mentions(said("x/mouse.h5#test\n"), {"bad.txt, line 1", "x/mouse.h5#test", "split"}));
  EXPECT_TRUE(mentions(said("x/mouse.h5\nx/mouse.h5#train\n"), {"bad.txt", "scene_000000", "twice"}));
  EXPECT_TRUE(mentions(said("# nothing\n"), {"bad.txt", "names no sample"}));
  EXPECT_TRUE(mentions(message_of([] { parse_list(std::string_view("a\0b", 3), "list"); }), {"list, line 1", "control characters"}));
}

class Sources : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!have_image_files()) GTEST_SKIP() << "built without OpenCV";
    real.views = 4, real.image_size = 16;
    generated = real;
    generated.views = 6, generated.elevation_degrees = 0;
    for (int i = 0; i < 3; ++i) {
      const Sample s = make_scene(real, i);
      write_sample(folder / ("real/" + s.name), s);
      if (i < 2 || all) write_sample(folder / ("generated/" + s.name), make_scene(generated, i));
    }
  }
  TempFolder folder;
  SceneOptions real, generated;
  bool all = false;
};

TEST_F(Sources, InputsAndTargetsComeFromSeparateViews) {
  const std::string file = folder / "a.h5";
  PackOptions p;
  p.inputs = folder / "generated";
  EXPECT_TRUE(mentions(message_of([&] { pack(find_samples(folder / "real"), file, p); }), {"scene_000002", "generated", "no input views"}));
  const Sample third = make_scene(generated, 2);
  write_sample(folder / "generated/scene_000002", third);
  pack(find_samples(folder / "real"), file, p);
  EXPECT_TRUE(verify_file(file).broken.empty());
  const auto reader = std::make_shared<ViewReader>(file);
  EXPECT_TRUE(reader->separate_inputs());
  EXPECT_EQ(reader->views(0), 10);
  EXPECT_EQ(reader->role(0, 3), Role::target);
  EXPECT_EQ(reader->role(0, 4), Role::input);

  for (ViewRule rule : {ViewRule::fixed, ViewRule::random}) {
    DatasetOptions o;
    o.image_size = 16, o.num_views = 3, o.num_input_views = 5, o.rule = rule;
    const auto d = std::make_shared<Dataset>(reader, o);
    Loader l(d, {.batch = 2, .shuffle = false}, {.workers = 2});
    const Batch& b = l.next();
    ASSERT_TRUE(b.separate_inputs);
    EXPECT_EQ(b.supervised_inputs(), 0);
    ASSERT_EQ(b.image.shape(), (Shape{2, 3, 16, 16, 4}));
    ASSERT_EQ(b.input.image.shape(), (Shape{2, 5, 16, 16, 4}));
    for (int i = 0; i < 6; ++i) EXPECT_LT(b.index.data<std::int64_t>()[2 * i], 4) << "targets are real";
    for (int i = 0; i < 10; ++i) EXPECT_GE(b.input.index.data<std::int64_t>()[2 * i], 4) << "inputs are generated";
    // Pixels and cameras belong to the view that the index names.
    for (int i = 0; i < 2; ++i)
      for (int k = 0; k < 5; ++k) {
        const int at = 5 * i + k, v = static_cast<int>(b.input.index.data<std::int64_t>()[2 * at]);
        const Camera& c = reader->camera(i, v);
        EXPECT_NEAR(b.input.c2w.data<float>()[16 * at + 3], position(c)[0], 1e-5);
        SamplePlan plan = d->plan({i, 0});
        RawView raw;
        reader->read_raw(i, v, raw);
        std::vector<float> want(16 * 16 * 4);
        d->render(plan, k, raw, want.data());
        EXPECT_TRUE(std::equal(want.begin(), want.end(), b.input.image.data<float>() + static_cast<std::int64_t>(at) * 16 * 16 * 4));
      }
    const Stream stream = Stream::create(kCpu, "test");
    Arena arena(kCpu, 1 << 24, "test");
    const Batch mine = l.upload(stream, arena);
    EXPECT_EQ(mine.input.image.shape(), (Shape{2, 5, 16, 16, 4}));
  }
  DatasetOptions o;
  o.image_size = 16, o.num_views = 5, o.num_input_views = 5;
  EXPECT_TRUE(mentions(message_of([&] { Dataset(reader, o); }), {"scene_000000", "4 target views", "5"}));
  o.num_views = 4, o.num_input_views = 7;
  EXPECT_TRUE(mentions(message_of([&] { Dataset(reader, o); }), {"scene_000000", "6 input views", "7"}));

  // Out and in again.
  unpack(file, folder / "back");
  pack(find_samples(folder / "back"), folder / "b.h5", {});
  EXPECT_EQ(ViewReader(folder / "b.h5").content_hash(), reader->content_hash());

  // One kind of sample to a set.
  pack(find_samples(folder / "real"), folder / "plain.h5", {});
  std::ofstream(folder / "mixed.txt") << "a.h5\nplain.h5\n";
  EXPECT_TRUE(mentions(message_of([&] { ViewReader r(folder / "mixed.txt"); }), {"mixed.txt", "separate input views", "--inputs"}));
}

TEST_F(Sources, AListOfFoldersAndPackedFilesTrains) {
  pack(find_samples(folder / "real/scene_000000"), folder / "one.h5", {});
  std::ofstream(folder / "list.txt") << "one.h5\nreal/scene_000001\nreal/scene_000002\n";
  const std::string set = ensure_packed(folder / "list.txt", folder / "cache", 16);
  const ViewReader r(set);
  EXPECT_EQ(r.size(), 3);
  EXPECT_EQ(r.files(), 2);
  EXPECT_EQ(ensure_packed(folder / "list.txt", folder / "cache", 16), set);
  std::ofstream(folder / "files.txt") << "one.h5\n";
  EXPECT_EQ(ensure_packed(folder / "files.txt", folder / "cache", 16), folder / "files.txt");
}

// Every cut and every changed byte of a PNG is refused, or does not change the pixels.
TEST(DamagedImages, CutOrChangedBytesAreRefused) {
  if (!have_image_files()) GTEST_SKIP() << "built without OpenCV";
  const TempFolder folder;
  const Image im = formula_image(20, 13, 4);
  std::vector<std::uint8_t> low(im.pixels.rbegin(), im.pixels.rend());
  write_png(folder / "a.png", im, low);
  write_jpeg(folder / "a.jpg", with_channels(formula_image(40, 40, 1), 3));
  for (const char* name : {"a.png", "a.jpg"}) {
    std::ifstream in(folder / name, std::ios::binary);
    const std::vector<std::uint8_t> good{std::istreambuf_iterator<char>(in), {}};
    std::vector<std::uint8_t> back;
    const Image whole = decode_image(good, name, &back);
    for (std::size_t n = 0; n < good.size(); n += 7)
      EXPECT_TRUE(mentions(message_of([&] { decode_image(std::span(good).first(n), name); }), {name})) << name << " cut to " << n;
    if (std::string(name) == "a.jpg") continue;   // a JPEG has no checksums
    EXPECT_EQ(whole.pixels, im.pixels);
    EXPECT_EQ(back, low);
    for (std::size_t at = 0; at < good.size(); at += 3) {
      std::vector<std::uint8_t> bad = good;
      bad[at] ^= 0x10;
      try {
        EXPECT_EQ(decode_image(bad, name).pixels, im.pixels) << at;
      } catch (const DataError&) {
      }
    }
  }
  std::vector<std::uint8_t> huge{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0, 0, 0, 13, 'I', 'H', 'D', 'R', 0, 0, 0x40, 0, 0, 0, 0x40, 0, 16, 6, 0, 0, 0, 1, 2, 3, 4, 5, 6};
  EXPECT_TRUE(mentions(message_of([&] { decode_image(huge, "huge.png"); }), {"huge.png", "16384 x 16384", "more than its 35 bytes can hold"}));
}

TEST(Pack, AFileBesideItsListMustHoldTheListsSamples) {
  const TempFolder folder;
  SceneOptions o;
  o.views = 2, o.image_size = 8;
  for (int i = 0; i < 3; ++i) write_sample(folder / make_scene(o, i).name, make_scene(o, i));
  const std::string list = folder / "set.txt", packed = folder / "set.h5";
  const auto name = [&](std::initializer_list<const char*> samples) {
    std::ofstream out(list);
    for (const char* s : samples) out << s << '\n';
  };
  name({"scene_000000", "scene_000001"});
  pack(find_samples(list), packed, {});
  EXPECT_NO_THROW(check_packed_from(packed, list));
  EXPECT_NO_THROW(check_packed_from(packed, folder / "none.txt"));
  name({"scene_000000", "scene_000002"});
  EXPECT_TRUE(mentions(message_of([&] { check_packed_from(packed, list); }),
                       {"set.h5", "set.txt", "1 of the list", "scene_000002", "scene_000001", "mfl_data pack", "--overwrite"}));
  name({"set.h5"});
  EXPECT_NO_THROW(check_packed_from(packed, list));
}

}  // namespace
}  // namespace mfl::data::test
