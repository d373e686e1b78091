// The packed file: what goes in comes out, and every kind of damage is named.
#include <hdf5.h>

#include <cstring>

#include "data/deflate.h"
#include "data/pack.h"
#include "data/image_file.h"
#include "tests/data/support.h"

namespace mfl::data {
namespace {
using namespace test;

std::vector<char> bytes_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void write_bytes(const std::string& path, const std::vector<char>& b) {
  std::ofstream(path, std::ios::binary).write(b.data(), static_cast<std::streamsize>(b.size()));
}

TEST(Deflate, FletcherIsHdf5s) {
  // By definition: sums of big-endian words, folded by end-around carry.
  const auto slow = [](const std::vector<std::uint8_t>& b) {
    std::uint32_t x = 0, y = 0;
    for (std::size_t i = 0; i < b.size(); i += 2) {
      x += static_cast<std::uint32_t>(b[i] << 8 | (i + 1 < b.size() ? b[i + 1] : 0));
      x = (x & 0xffff) + (x >> 16);
      y += x;
      y = (y & 0xffff) + (y >> 16);
    }
    return y << 16 | x;
  };
  for (std::size_t n : {0, 1, 2, 3, 255, 1000, 300001}) {
    std::vector<std::uint8_t> b(n);
    for (std::size_t i = 0; i < n; ++i) b[i] = static_cast<std::uint8_t>(i * 37 + i / 7);
    EXPECT_EQ(fletcher32(b), slow(b)) << n;
    std::fill(b.begin(), b.end(), 255);
    EXPECT_EQ(fletcher32(b), slow(b)) << n;
  }
}

TEST(Deflate, DamageAndWrongSizesAreSeen) {
  std::vector<std::uint8_t> in(1000, 7), out(1000);
  auto packed = deflate_zlib(in, 6);
  ASSERT_TRUE(inflate_zlib(packed, out));
  EXPECT_EQ(in, out);
  std::vector<std::uint8_t> shorter(999), longer(1001);
  EXPECT_FALSE(inflate_zlib(packed, shorter));
  EXPECT_FALSE(inflate_zlib(packed, longer));
  packed.pop_back();
  EXPECT_FALSE(inflate_zlib(packed, out));
}

TEST(PackedFile, ReturnsWhatWasWritten) {
  const TempFolder folder;
  SceneOptions o;
  o.views = 3, o.image_size = 20;
  Sample a = make_scene(o, 0), b = make_scene(o, 1);
  a.raw_frame = 4711, a.split = Split::val, a.up = Vec3{0, 0.6, 0.8};
  a.views[1].warp = {2, 0, 3, 0, 2, 5, 0, 0, 1};
  a.views[2].prompt_slot = 4;
  b.views.pop_back();                                    // a sample may have fewer views
  for (View& v : b.views) v.image = with_channels(v.image, 3);   // and no alpha
  PackInfo info;
  info.width = info.height = 20, info.samples = 2, info.max_views = 3, info.ring_order = {0, 2, 1}, info.recipe = R"({"tool":"test"})";
  const std::string path = folder / "two.h5";
  {
    ViewWriter w(path, info, false);
    w.add(a), w.add(b);
    w.finish();
  }
  EXPECT_FALSE(fs::exists(path + ".part"));
  EXPECT_EQ(verify_file(path).views, 5);
  EXPECT_TRUE(verify_file(path).broken.empty());
  const ViewReader r(path);
  ASSERT_EQ(r.size(), 2);
  EXPECT_EQ(r.recipe(), info.recipe);
  EXPECT_EQ(r.file(0).ring_order, info.ring_order);
  EXPECT_EQ(r.views(1), 2);
  EXPECT_FALSE(r.has_alpha(1));
  for (const Sample* s : {&a, &b}) {
    const Sample back = r.sample(s == &a ? 0 : 1);
    EXPECT_EQ(back.name, s->name);
    EXPECT_EQ(back.raw_frame, s->raw_frame);
    EXPECT_EQ(back.split, s->split);
    EXPECT_EQ(back.up, s->up);
    ASSERT_EQ(back.views.size(), s->views.size());
    for (std::size_t v = 0; v < s->views.size(); ++v) {
      EXPECT_EQ(back.views[v].name, s->views[v].name);
      EXPECT_EQ(back.views[v].image.pixels, s->views[v].image.pixels);
      EXPECT_EQ(back.views[v].camera.w2c, s->views[v].camera.w2c);
      EXPECT_EQ(back.views[v].camera.fx, s->views[v].camera.fx);
      EXPECT_EQ(back.views[v].warp, s->views[v].warp);
      EXPECT_EQ(back.views[v].prompt_slot, s->views[v].prompt_slot);
    }
  }
  EXPECT_NEAR(r.foreground(0, 0), foreground_share(a.views[0].image), 1e-7);

  const ViewReader val(path + "#val");
  EXPECT_EQ(val.size(), 1);
  EXPECT_EQ(val.sample_name(0), a.name);
  EXPECT_TRUE(mentions(message_of([&] { ViewReader(path + "#train"); }), {"two.h5", "split"}));
  EXPECT_TRUE(mentions(message_of([&] { r.read(1, 2); }), {"two.h5", b.name.c_str(), "2 views", "view 2"}));
}

TEST(PackedFile, TheHdf5LibraryReadsItThroughItsOwnFilters) {
  const TempFolder folder;
  const std::string path = make_file(folder, 2);
  const Image ours = ViewReader(path).read(1, 2);
  const hid_t f = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), d = H5Dopen2(f, "images", H5P_DEFAULT), s = H5Dget_space(d);
  const hsize_t start[5] = {1, 2, 0, 0, 0}, count[5] = {1, 1, 16, 16, 4};
  H5Sselect_hyperslab(s, H5S_SELECT_SET, start, nullptr, count, nullptr);
  const hid_t m = H5Screate_simple(5, count, nullptr);
  std::vector<std::uint8_t> theirs(16 * 16 * 4);
  EXPECT_GE(H5Dread(d, H5T_NATIVE_UINT8, m, s, H5P_DEFAULT, theirs.data()), 0);
  H5Sclose(m), H5Sclose(s), H5Dclose(d), H5Fclose(f);
  EXPECT_EQ(ours.pixels, theirs);
}

TEST(PackedFile, AFlippedBitInAnImageIsNamed) {
  const TempFolder folder;
  const std::string path = make_file(folder, 3);
  RawView raw;
  ViewReader(path).read_raw(1, 2, raw);
  auto all = bytes_of(path);
  const auto at = std::search(all.begin(), all.end(), raw.bytes.begin(), raw.bytes.end(),
                              [](char a, std::uint8_t b) { return static_cast<std::uint8_t>(a) == b; });
  ASSERT_NE(at, all.end());
  *(at + static_cast<long>(raw.bytes.size()) / 2) ^= 4;
  write_bytes(path, all);
  const ViewReader r(path);
  EXPECT_NO_THROW(r.read(1, 1));
  const Verified found = verify_file(path);
  EXPECT_EQ(found.views, 12);
  ASSERT_EQ(found.broken.size(), 1u);
  for (const std::string& said : {message_of([&] { r.read(1, 2); }), found.broken[0]})
    EXPECT_TRUE(mentions(said, {"scenes.h5", "sample scene_000001", "view 2", "cam_002", "checksum", "pack it again"}));
}

TEST(PackedFile, ATruncatedFileIsNamed) {
  const TempFolder folder;
  const std::string path = make_file(folder, 3);
  for (const double share : {0.9, 0.5, 0.01, 0.0}) {
    const std::string cut = folder / "cut.h5";
    fs::copy_file(path, cut, fs::copy_options::overwrite_existing);
    fs::resize_file(cut, static_cast<std::uintmax_t>(share * static_cast<double>(fs::file_size(path))));
    EXPECT_TRUE(mentions(message_of([&] {
                           const Verified found = verify_file(cut);
                           if (!found.broken.empty()) throw_error<DataError>(found.broken[0]);
                         }),
                         {"cut.h5"}))
        << share;
  }
}

TEST(PackedFile, OtherFilesAreNamed) {
  const TempFolder folder;
  std::ofstream(folder / "text.h5") << "no hdf5";
  EXPECT_TRUE(mentions(message_of([&] { ViewReader(folder / "text.h5"); }), {"text.h5", "no HDF5 file"}));
  EXPECT_TRUE(mentions(message_of([&] { ViewReader(folder / "none.h5"); }), {"none.h5", "does not exist", "mfl_data pack"}));
  fs::create_directory(folder / "dir");
  EXPECT_TRUE(mentions(message_of([&] { ViewReader(folder / "dir"); }), {"dir", "folder"}));
  H5Fclose(H5Fcreate((folder / "old.h5").c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
  EXPECT_TRUE(mentions(message_of([&] { ViewReader(folder / "old.h5"); }), {"old.h5", "before 1.8", "h5repack -L"}));
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
  H5Fclose(H5Fcreate((folder / "other.h5").c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access));
  H5Pclose(access);
  EXPECT_TRUE(mentions(message_of([&] { ViewReader(folder / "other.h5"); }), {"other.h5", "not a packed data set"}));
}

TEST(PackedFile, AWrongVersionAndMissingTablesAreNamed) {
  const TempFolder folder;
  const auto changed = [&](auto&& change) {
    const std::string path = folder / "changed.h5";
    fs::remove(path);
    make_file(folder, 2, 3, 16, "changed.h5");
    const hid_t f = H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
    change(f);
    H5Fclose(f);
    return message_of([&] { ViewReader r(path); });
  };
  EXPECT_TRUE(mentions(changed([](hid_t f) {
                         const std::int32_t three = 3;
                         const hid_t a = H5Aopen(f, "version", H5P_DEFAULT);
                         H5Awrite(a, H5T_NATIVE_INT32, &three);
                         H5Aclose(a);
                       }),
                       {"changed.h5", "version 3", "versions 1 to 2"}));
  EXPECT_TRUE(mentions(changed([](hid_t f) { H5Adelete(f, "version"); }), {"changed.h5", "packing did not end"}));
  for (const char* table : {"images", "cameras/K", "cameras/w2c", "view_count", "sample_name", "pixel_sha256"})
    EXPECT_TRUE(mentions(changed([&](hid_t f) { H5Ldelete(f, table, H5P_DEFAULT); }), {"changed.h5", table, "missing"}));
  EXPECT_TRUE(mentions(changed([](hid_t f) {
                         const std::int32_t counts[2] = {3, 9};
                         const hid_t d = H5Dopen2(f, "view_count", H5P_DEFAULT);
                         H5Dwrite(d, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, counts);
                         H5Dclose(d);
                       }),
                       {"changed.h5", "scene_000001", "9 views"}));
  EXPECT_TRUE(mentions(changed([](hid_t f) {
                         std::vector<double> zero(2 * 3 * 16);
                         const hid_t d = H5Dopen2(f, "cameras/w2c", H5P_DEFAULT);
                         H5Dwrite(d, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, zero.data());
                         H5Dclose(d);
                       }),
                       {"changed.h5", "scene_000000", "view 0", "w2c"}));
}

TEST(PackedFile, AnInterruptedWriterLeavesNothing) {
  const TempFolder folder;
  PackInfo info;
  info.width = info.height = 8, info.samples = 2, info.max_views = 1;
  SceneOptions o;
  o.views = 1, o.image_size = 8;
  {
    ViewWriter w(folder / "half.h5", info, false);
    w.add(make_scene(o, 0));
    EXPECT_TRUE(mentions(message_of([&] { w.finish(); }), {"1 of 2"}));
  }
  EXPECT_FALSE(fs::exists(folder / "half.h5"));
  EXPECT_FALSE(fs::exists(folder / "half.h5.part"));
}

TEST(PackedFile, TwoWritersOfOneFileAreOneTooMany) {
  const TempFolder folder;
  PackInfo info;
  info.width = info.height = 8, info.samples = 1, info.max_views = 1;
  SceneOptions o;
  o.views = 1, o.image_size = 8;
  ViewWriter first(folder / "set.h5", info, false);
  EXPECT_TRUE(mentions(message_of([&] { ViewWriter(folder / "set.h5", info, true); }), {"set.h5 is in use by mfl_data", "process"}));
  first.add(make_scene(o, 0));
  first.finish();
  EXPECT_EQ(ViewReader(folder / "set.h5").size(), 1);
}

// ---- sample folders ----

class Folders : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!have_image_files()) GTEST_SKIP() << "built without OpenCV";
    options.views = 3, options.image_size = 24;
    std::ofstream list(folder / "list.txt");
    for (int i = 0; i < 3; ++i) {
      const Sample s = make_scene(options, i);
      write_sample(folder / s.name, s);
      list << "  " << s.name << "\r\n\n";
    }
  }
  TempFolder folder;
  SceneOptions options;
};

TEST_F(Folders, PackAndUnpackReturnEveryPixelAndCamera) {
  const auto samples = find_samples(folder / "list.txt");
  ASSERT_EQ(samples.size(), 3u);
  EXPECT_EQ(samples[2].name, "scene_000002");
  EXPECT_EQ(pack(samples, folder / "a.h5", {}).packed, 3);
  unpack(folder / "a.h5", folder / "back");
  EXPECT_EQ(pack(find_samples(folder / "back"), folder / "b.h5", {}).packed, 3);
  EXPECT_EQ(ViewReader(folder / "a.h5").content_hash(), ViewReader(folder / "b.h5").content_hash());
  const Sample s = make_scene(options, 1), back = ViewReader(folder / "b.h5").sample(1);
  for (std::size_t v = 0; v < 3; ++v) {
    EXPECT_EQ(back.views[v].image.pixels, s.views[v].image.pixels);
    EXPECT_EQ(back.views[v].camera.w2c, s.views[v].camera.w2c);
  }
}

// 8 and 16 bits, grey, RGB and RGBA, in one sample: every pixel comes back, and so do the kinds.
TEST_F(Folders, AnyMixOfDepthsAndChannelsComesBackToTheLastBit) {
  const std::string images = folder / "scene_000000/images/";
  std::vector<std::uint8_t> low(24 * 24 * 4);
  for (std::size_t i = 0; i < low.size(); ++i) low[i] = static_cast<std::uint8_t>(i * 91 + 5);
  const Image rgba = formula_image(24, 24, 4), rgb = formula_image(24, 24, 3), grey = formula_image(24, 24, 1);
  write_png(images + "cam_000.png", rgba, low);
  low.resize(24 * 24);
  write_png(images + "cam_001.png", grey, low);
  write_png(images + "cam_002.png", rgb);
  pack(find_samples(folder / "list.txt"), folder / "a.h5", {});
  const ViewReader r(folder / "a.h5");
  EXPECT_EQ(r.read(0, 0).pixels, rgba.pixels);   // training reads the high bytes
  EXPECT_EQ(r.bits(0, 0), 16);
  EXPECT_EQ(r.channels(0, 1), 1);
  EXPECT_EQ(r.bits(0, 2), 8);
  EXPECT_TRUE(verify_file(folder / "a.h5").broken.empty());
  unpack(folder / "a.h5", folder / "back");
  for (const char* name : {"cam_000.png", "cam_001.png", "cam_002.png"}) {
    std::vector<std::uint8_t> low_a, low_b;
    const Image a = read_image(images + name, &low_a), b = read_image(folder / ("back/scene_000000/images/" + std::string(name)), &low_b);
    EXPECT_EQ(a.channels, b.channels) << name;
    EXPECT_EQ(a.pixels, b.pixels) << name;
    EXPECT_EQ(low_a, low_b) << name;
    EXPECT_EQ(low_a.empty(), std::string(name) == "cam_002.png") << name;
  }
  pack(find_samples(folder / "back/data_all.txt"), folder / "b.h5", {});
  EXPECT_EQ(ViewReader(folder / "b.h5").content_hash(), r.content_hash());
}

// Every field of the format through the file and through folders.
TEST_F(Folders, EverythingKnownAboutASampleComesBack) {
  Sample s = make_scene(options, 7);
  s.name = "mouse_b/frame_000123";
  s.raw_frame = 5905, s.recording = 1, s.split = Split::test, s.up = Vec3{0.1, 0.2, 0.97};
  s.raw_to_world = Mat4{0.1, 0, 0, 1.0 / 3, 0, 0.1, 0, 2, 0, 0, 0.1, -3, 0, 0, 0, 1};
  View& v = s.views[1];
  v.warp = {0.5, 1e-3, 12.25, 0, 0.51, 1.0 / 7, 1e-7, 0, 1}, v.zoom = 1.5, v.prompt_slot = 3, v.slot_error = 12.5f;
  v.raw = SourceCamera{{1600.5, -5.9, 600, 0, 1610, 500, 0, 0, 1}, {1, 0, 0, 10, 0, 1, 0, 20, 0, 0, 1, 300, 0, 0, 0, 1}};
  v.stats = {{3.25f, 4.5f}, {1, 2, 9, 8}, 0.125f, 0.93f, 0.7f};
  s.views[2].role = Role::input, s.views[2].name = s.views[0].name;   // names need only differ within a role
  PackInfo info;
  info.width = info.height = 24, info.samples = 1, info.max_views = 3;
  info.ring_order = {2, 0, 1}, info.slot_names = {"front", "front_right", "right", "back"};
  info.recordings = {{"mouse_a", 18000, 100, {5900, 11800, 17700}}, {"mouse_b", 18000, 100, {5900}}};
  info.recipe = R"({"tool":"test","zoom":1.5})";
  {
    ViewWriter w(folder / "a.h5", info, false);
    w.add(s);
    w.finish();
  }
  unpack(folder / "a.h5", folder / "back");
  pack(find_samples(folder / "back/data_all.txt"), folder / "b.h5", {});
  const ViewReader a(folder / "a.h5"), b(folder / "b.h5");
  for (const ViewReader* r : {&a, &b}) {
    const Sample back = r->sample(0);
    EXPECT_EQ(back.raw_frame, s.raw_frame);
    EXPECT_EQ(back.recording, 1);
    EXPECT_EQ(back.split, s.split);
    EXPECT_EQ(back.up, s.up);
    EXPECT_EQ(back.raw_to_world, s.raw_to_world);
    const View& w = back.views[1];
    EXPECT_EQ(w.warp, v.warp);
    EXPECT_EQ(w.zoom, v.zoom);
    EXPECT_EQ(w.prompt_slot, 3);
    EXPECT_EQ(w.slot_error, 12.5f);
    EXPECT_EQ(w.raw, v.raw);
    EXPECT_EQ(w.stats.centroid[1], 4.5f);
    EXPECT_EQ(w.stats.box[3], 8);
    EXPECT_EQ(w.stats.clipped, 0.125f);
    EXPECT_EQ(w.stats.hull_iou, 0.93f);
    EXPECT_EQ(w.stats.centroid_error, 0.7f);
    EXPECT_FALSE(back.views[0].raw);
    EXPECT_EQ(back.views[2].role, Role::input);
    EXPECT_EQ(back.views[2].name, s.views[0].name);
    EXPECT_EQ(back.views[2].image.pixels, s.views[2].image.pixels);
    const PackedFile& f = r->file(0);
    EXPECT_EQ(f.ring_order, info.ring_order);
    EXPECT_EQ(f.slot_names, info.slot_names);
    EXPECT_EQ(f.recordings, info.recordings);
  }
  EXPECT_EQ(a.sample_name(0), s.name);
  EXPECT_EQ(a.file(0).recordings[1].piece(5899), 0);
  EXPECT_EQ(a.file(0).recordings[1].piece(5900), 1);
}

TEST_F(Folders, ResizingScalesCamerasAndWarp) {
  PackOptions o;
  o.image_size = 12;
  pack(find_samples(folder / "list.txt"), folder / "a.h5", o);
  const ViewReader r(folder / "a.h5");
  const Sample s = make_scene(options, 0);
  EXPECT_EQ(r.width(0), 12);
  EXPECT_EQ(r.camera(0, 0).fx, s.views[0].camera.fx * 0.5);
  EXPECT_EQ(r.camera(0, 0).cy, 6);
  EXPECT_EQ(r.warp(0, 0)[0], 0.5);
  EXPECT_EQ(r.read(0, 0).pixels, resize_lanczos(s.views[0].image, 12, 12).pixels);
}

TEST_F(Folders, ABrokenSampleStopsWithItsNameOrIsLeftOut) {
  fs::resize_file(folder / "scene_000001/images/cam_002.png", 40);
  const auto samples = find_samples(folder / "list.txt");
  EXPECT_TRUE(mentions(message_of([&] { pack(samples, folder / "a.h5", {}); }), {"scene_000001", "view 2", "cam_002.png"}));
  EXPECT_FALSE(fs::exists(folder / "a.h5"));
  PackOptions skip;
  skip.skip_broken = true;
  const PackResult result = pack(samples, folder / "a.h5", skip);
  EXPECT_EQ(result.packed, 2);
  EXPECT_EQ(result.left_out, std::vector<std::string>{"scene_000001"});
  EXPECT_EQ(ViewReader(folder / "a.h5").sample_name(1), "scene_000002");

  fs::remove(folder / "scene_000001/images/cam_002.png");
  EXPECT_TRUE(mentions(message_of([&] { pack(samples, folder / "b.h5", {}); }), {"scene_000001", "view 2", "does not exist"}));
  fs::remove(folder / "scene_000001/opencv_cameras.json");
  EXPECT_TRUE(mentions(message_of([&] { pack(samples, folder / "b.h5", {}); }), {"scene_000001", "opencv_cameras.json"}));
}

TEST_F(Folders, SizesThatDisagreeAreNamed) {
  write_png(folder / "scene_000002/images/cam_001.png", Image(10, 24, 4));
  EXPECT_TRUE(mentions(message_of([&] { pack(find_samples(folder / "list.txt"), folder / "a.h5", {}); }),
                       {"scene_000002", "view 1", "10 x 24", "24 x 24"}));
}

TEST_F(Folders, ListsAreChecked) {
  std::ofstream(folder / "twice.txt") << "scene_000000\nscene_000001\nscene_000000\n";
  EXPECT_TRUE(mentions(message_of([&] { find_samples(folder / "twice.txt"); }), {"scene_000000", "twice"}));
  std::ofstream(folder / "empty.txt") << "\n\n";
  EXPECT_TRUE(mentions(message_of([&] { find_samples(folder / "empty.txt"); }), {"empty.txt", "no sample"}));
  std::ofstream(folder / "absolute.txt") << (folder / "scene_000001") << "\n";
  EXPECT_EQ(find_samples(folder / "absolute.txt")[0].name, "scene_000001");
}

TEST_F(Folders, AListIsPackedOnceUntilItsDataChanges) {
  const std::string list = folder / "list.txt", cache = folder / "cache";
  const std::string first = ensure_packed(list, cache, 12);
  const auto time = fs::last_write_time(first);
  EXPECT_EQ(ensure_packed(list, cache, 12), first);
  EXPECT_EQ(fs::last_write_time(first), time);
  EXPECT_NE(ensure_packed(list, cache, 16), first);
  write_png(folder / "scene_000002/images/cam_001.png", formula_image(24, 24, 4));
  EXPECT_NE(ensure_packed(list, cache, 12), first);
  EXPECT_EQ(ensure_packed("x/y.h5#val", cache, 12), "x/y.h5#val");
  EXPECT_EQ(ensure_packed(list + "#val", cache, 16), ensure_packed(list, cache, 16) + "#val");
}

// FaceLift's own sample: 32 views of 16-bit RGBA.
TEST(GoldenFaceLiftSample, PacksToPillowsPixels) {
  const char* given = std::getenv("MFL_SHARED_DATA");
  const std::string data = given ? given : std::string(MFL_SOURCE_DIR) + "/../shared/data";
  const std::string list = data + "/facelift_sample/gslrm/data_gslrm_train.txt";
  if (!fs::exists(list)) GTEST_SKIP() << list << " is absent";
  if (!have_image_files()) GTEST_SKIP() << "built without OpenCV";
  const TempFolder folder;
  pack(find_samples(list), folder / "full.h5", {});
  PackOptions small;
  small.image_size = 64;
  pack(find_samples(list), folder / "small.h5", small);
  const ViewReader a(folder / "full.h5"), b(folder / "small.h5");
  ASSERT_EQ(a.views(0), 32);
  const auto g = golden()["facelift"];
  for (int v : {0, 13, 31}) {
    const auto& want = g[a.view_name(0, v)];
    EXPECT_EQ(hex(a.pixel_hash(0, v)), want["rgba"].get<std::string>()) << v;
    EXPECT_EQ(hex(b.pixel_hash(0, v)), want["rgba_64"].get<std::string>()) << v;
    Image white = b.read(0, v);
    const std::uint8_t colour[3] = {255, 255, 255};
    composite_over(white, colour);
    EXPECT_EQ(sha(with_channels(white, 3)), want["white_64"].get<std::string>()) << v;
  }
  EXPECT_NEAR(a.foreground(0, 0), 0.301, 1e-3);
}

}  // namespace
}  // namespace mfl::data
