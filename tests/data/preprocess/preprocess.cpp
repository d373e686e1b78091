#include "data/preprocess/preprocess.h"

#include <cmath>

#include "data/hdf5_file.h"
#include "data/image_file.h"
#include "data/pack.h"
#include "data/preprocess/linear.h"
#include "data/preprocess/rig.h"
#include "data/recording.h"
#include "tests/data/support.h"
#include "tests/support/shared_files.h"

namespace mfl::data::preprocess {
namespace {

namespace fs = std::filesystem;
using mfl::data::test::mentions;
using mfl::data::test::message_of;
using mfl::data::test::TempFolder;

constexpr int kWidth = 192, kHeight = 160, kFrames = 8;
constexpr double kRadius = 22;

Vec3 ball(int frame) { return {20.0 + 3 * frame, -10.0 + 2 * frame, 35.0 - frame}; }

// A ring of six cameras with a skew and principal points off the centre, that see a ball walking.
std::vector<RawCamera> small_rig() {
  std::vector<RawCamera> rig;
  for (int k = 0; k < 6; ++k) {
    const double a = 1.047 * k + 0.1 * (k % 2);
    const Vec3 p{320 * std::cos(a), 320 * std::sin(a), 60.0 + 15 * k}, f = unit(minus({10.0 * (k % 3), 5, 25}, p)),
                                                                       r = unit(cross(f, {0, 0, 1}));
    RawCamera c;
    c.K = {260.0 + k, -2.0, 90.0 + 3 * k, 0, 262, 84.0 - 2 * k, 0, 0, 1};
    c.R = rows(r, cross(f, r), f);
    c.T = scaled_by(-1, product(c.R, p));
    rig.push_back(c);
  }
  return rig;
}

struct Changes {
  int mask_frames = kFrames;  // of camera 3
  int empty_frame = -1;       // camera 2 sees nothing there
};

std::string write_recording(const TempFolder& folder, const Changes& changes = {}) {
  const std::string root = folder / "recording";
  fs::create_directories(fs::path(root) / kVideoFolder);
  fs::create_directories(fs::path(root) / kMaskFolder);
  const std::vector<RawCamera> rig = small_rig();
  write_new_cam((fs::path(root) / kCalibrationFile).string(), rig);
  for (int k = 0; k < 6; ++k) {
    const RawCamera& c = rig[static_cast<std::size_t>(k)];
    const std::string name = std::to_string(k) + ".mp4";
    VideoWriter colour((fs::path(root) / kVideoFolder / name).string(), kWidth, kHeight, 20),
        mask((fs::path(root) / kMaskFolder / name).string(), kWidth, kHeight, 20);
    for (int frame = 0; frame < kFrames; ++frame) {
      Image rgb(kWidth, kHeight, 3), white(kWidth, kHeight, 3);
      for (int y = 0; y < kHeight; ++y)
        for (int x = 0; x < kWidth; ++x) {
          const bool inside = length(cross(minus(ball(frame), position(c)), ray(c, x, y))) < kRadius &&
                              !(k == 2 && frame == changes.empty_frame);
          const std::uint8_t animal[3] = {180, 120, 90}, floor[3] = {30, 90, 40};
          for (int i = 0; i < 3; ++i)
            rgb.row(y)[3 * x + i] = inside ? animal[i] : floor[i], white.row(y)[3 * x + i] = inside ? 255 : 0;
        }
      colour.add(rgb);
      if (k != 3 || frame < changes.mask_frames) mask.add(white);
    }
    colour.close(), mask.close();
  }
  return root;
}

Options options_for(const std::string& recording, const std::string& output) {
  Options o;
  o.video_dir = recording, o.output_dir = output, o.image_size = 128, o.guard_seconds = 0.05;
  return o;
}

// FNV over all bytes of all samples' files.
std::string contents(const std::string& folder) {
  std::vector<fs::path> files;
  for (const auto& e : fs::recursive_directory_iterator(folder))
    if (e.is_regular_file()) files.push_back(e.path());
  std::sort(files.begin(), files.end());
  Sha256 hash;
  for (const fs::path& p : files) {
    std::ifstream in(p, std::ios::binary);
    hash.add(fs::relative(p, folder).string()).add(std::string(std::istreambuf_iterator<char>(in), {}));
  }
  return hex(hash.finish());
}

TEST(Preprocess, ARecordingBecomesSamplesWithTrueCameras) {
  if (!have_image_files()) GTEST_SKIP() << "this build reads no videos";
  const TempFolder folder;
  const std::string recording = write_recording(folder);
  Options o = options_for(recording, folder / "out");
  o.pack = folder / "out.h5", o.jumps = {3, 6}, o.zoom = 1.25;
  const Result r = run(o);
  EXPECT_EQ(r.written, 8);
  EXPECT_EQ(r.already, 0);
  EXPECT_LT(r.centroid_miss, 1.5) << "mm";

  const ViewReader file(o.pack);
  EXPECT_EQ(file.size(), 8);
  EXPECT_EQ(ViewReader(o.pack + "#train").size(), 6);
  EXPECT_EQ(ViewReader(o.pack + "#val").size(), 2);
  EXPECT_EQ(file.file(0).ring_order, (std::vector<int>{0, 5, 4, 3, 2, 1}));
  ASSERT_EQ(file.file(0).recordings.size(), 1u);
  EXPECT_EQ(file.file(0).recordings[0].jumps, (std::vector<std::int64_t>{3, 6}));
  EXPECT_EQ(file.file(0).recordings[0].rate, 20);
  const std::vector<RawCamera> rig = small_rig();
  for (std::int64_t s = 0; s < 8; ++s) {
    EXPECT_EQ(file.raw_frame(s), s);
    double radius = 0;
    const Mat4 m = *file.raw_to_world(s);
    for (int v = 0; v < 6; ++v) {
      const Camera& c = file.camera(s, v);
      radius += length(position(c)) / 6;
      EXPECT_EQ(c.fx, 1.25 * 548.9937744140625 / 4);
      EXPECT_EQ(c.cx, 64);
      EXPECT_EQ(file.zoom(s, v), 1.25);
      EXPECT_GE(file.prompt_slot(s, v), 0);
      // The true ball, by the raw calibration and the warp, and by the written camera.
      const Vec3 b = ball(static_cast<int>(s));
      const Projection raw = project(rig[static_cast<std::size_t>(v)], b);
      const Vec3 p = product(file.warp(s, v), Vec3{raw.u + 0.5, raw.v + 0.5, 1});
      Vec3 world{};
      for (int i = 0; i < 3; ++i) world[i] = m[4 * i] * b[0] + m[4 * i + 1] * b[1] + m[4 * i + 2] * b[2] + m[4 * i + 3];
      EXPECT_LT(length(world), 0.02) << "the animal is at the origin";
      const Projection written = project(c, world);
      EXPECT_NEAR(p[0] / p[2], written.u, 1e-8);
      EXPECT_NEAR(p[1] / p[2], written.v, 1e-8);
      // And its picture is there: the outline's centroid, the area of a ball's outline, the colour.
      const Image im = file.read(s, v);
      double area = 0, u = 0, w = 0, red = 0;
      for (int y = 0; y < 128; ++y)
        for (int x = 0; x < 128; ++x) {
          const double a = im.row(y)[4 * x + 3] / 255.0;
          area += a, u += a * (x + 0.5), w += a * (y + 0.5), red += a * im.row(y)[4 * x];
        }
      EXPECT_NEAR(u / area, written.u, 0.5);
      EXPECT_NEAR(w / area, written.v, 0.5);
      EXPECT_NEAR(red / area, 180, 12);
      const double scale = std::sqrt(m[0] * m[0] + m[4] * m[4] + m[8] * m[8]);
      const double seen = c.fx * kRadius * scale / written.depth;
      EXPECT_NEAR(std::sqrt(area / 3.14159265), seen, 0.05 * seen);
    }
    EXPECT_NEAR(radius, 2.7, 1e-12);
  }
  // The folders are the same set, and a list names them relative to itself.
  const std::vector<SampleFolder> val = find_samples((fs::path(o.output_dir) / "data_mouse_val.txt").string());
  ASSERT_EQ(val.size(), 2u);
  const Sample last = read_sample(val.back());
  EXPECT_EQ(last.raw_frame, 7);
  EXPECT_EQ(last.split, Split::val);
  EXPECT_EQ(last.views[4].image.pixels, file.read(7, 4).pixels);
}

TEST(Preprocess, GoesOnWhereItStoppedAndRefusesOtherOptions) {
  if (!have_image_files()) GTEST_SKIP() << "this build reads no videos";
  const TempFolder folder;
  const std::string recording = write_recording(folder);
  Options o = options_for(recording, folder / "out");
  o.center = Center::sequence, o.aim = Aim::keep;
  run(o);
  const std::string whole = contents(o.output_dir);
  // As a killed run leaves it: some samples missing, one half written, no lists.
  for (const char* name : {"frame_000003", "frame_000006", "frame_000007"})
    fs::remove_all(fs::path(o.output_dir) / name);
  fs::create_directories(fs::path(o.output_dir) / ".frame_000003" / "images");
  for (const char* name : {"dataset.json", "data_mouse_train.txt", "data_mouse_val.txt"})
    fs::remove(fs::path(o.output_dir) / name);
  const Result r = run(o);
  EXPECT_EQ(r.written, 3);
  EXPECT_EQ(r.already, 5);
  EXPECT_EQ(contents(o.output_dir), whole);

  o.zoom = 1.5;
  try {
    run(o);
    ADD_FAILURE() << "samples of two kinds in one folder";
  } catch (const ConfigError& e) {
    EXPECT_TRUE(mentions(e.what(), {"zoom = 1.0", "1.5", "--overwrite"}));
  }
  o.overwrite = true;
  EXPECT_EQ(run(o).written, 8);
}

TEST(Preprocess, WhatIsMissingOrDisagreesIsSaid) {
  if (!have_image_files()) GTEST_SKIP() << "this build reads no videos";
  const TempFolder folder, shorter, lost;
  const std::string recording = write_recording(folder);
  const auto said = [&](const std::string& where) {
    return message_of([&] { run(options_for(where, folder / "never")); });
  };
  EXPECT_TRUE(mentions(said(write_recording(shorter, {.mask_frames = 6})),
                       {"simpleclick_undist/3.mp4", "6 frames", "videos_undist/0.mp4", "8"}));
  EXPECT_TRUE(mentions(said(folder / "nowhere"), {"nowhere", "does not exist"}));

  const fs::path root = recording;
  fs::rename(root / kMaskFolder / "4.mp4", root / "away");
  EXPECT_TRUE(mentions(said(recording), {"simpleclick_undist", "no mask video for camera 4"}));
  fs::rename(root / "away", root / kMaskFolder / "4.mp4");
  fs::rename(root / kVideoFolder / "5.mp4", root / "away");
  EXPECT_TRUE(mentions(said(recording), {"videos_undist", "no video for camera 5"}));
  fs::rename(root / "away", root / kVideoFolder / "5.mp4");
  auto rig = small_rig();
  rig.pop_back();
  write_new_cam((root / kCalibrationFile).string(), rig);
  EXPECT_TRUE(mentions(said(recording), {"5.mp4", "cameras 0 to 4"}));
  rig = small_rig();
  for (std::size_t i = 0; i < 3; ++i) rig[2].R[i] = -rig[2].R[i];
  write_new_cam((root / kCalibrationFile).string(), rig);
  EXPECT_TRUE(mentions(said(recording), {"camera 2", "det R = -1"}));
  fs::remove(root / kCalibrationFile);
  EXPECT_TRUE(mentions(said(recording), {"new_cam.pkl", "does not exist"}));
  write_new_cam((root / kCalibrationFile).string(), small_rig());
  fs::resize_file(root / kVideoFolder / "1.mp4", 700);
  EXPECT_TRUE(mentions(said(recording), {"videos_undist/1.mp4"}));
}

TEST(Preprocess, AFrameWithoutTheAnimalStopsOrIsLeftOut) {
  if (!have_image_files()) GTEST_SKIP() << "this build reads no videos";
  const TempFolder folder;
  const std::string recording = write_recording(folder, {.empty_frame = 4});
  Options o = options_for(recording, folder / "out");
  EXPECT_TRUE(mentions(message_of([&] { run(o); }), {"frame 4", "camera 2 sees no animal", "--skip_broken"}));
  o.skip_broken = true;  // the answer to the stop: what is there stays
  const Result r = run(o);
  EXPECT_EQ(r.written + r.already, 7);
  ASSERT_EQ(r.left_out.size(), 1u);
  EXPECT_EQ(r.left_out[0].first, 4);
  // A zoom that cuts the animal.
  o = options_for(write_recording(folder), folder / "cut"), o.zoom = 8;
  EXPECT_TRUE(mentions(message_of([&] { run(o); }), {"frame 0", "cut off", "--allow_clipped"}));
  o.allow_clipped = true;
  EXPECT_EQ(run(o).written, 8);
}

TEST(Preprocess, CompatFaceliftWritesTheScriptsCameras) {
  if (!have_image_files()) GTEST_SKIP() << "this build reads no videos";
  const TempFolder folder;
  Options o = options_for(write_recording(folder), folder / "out");
  o.compat_facelift = true;
  const Result r = run(o);
  EXPECT_EQ(r.written, 8);
  const Sample s = read_sample({"frame_000002", (fs::path(o.output_dir) / "frame_000002").string()});
  double radius = 0;
  for (std::size_t v = 0; v < 6; ++v) {
    radius += length(position(s.views[v].camera)) / 6;
    EXPECT_NEAR(s.views[v].camera.fx, 64 / std::tan(0.43633231299858238), 1e-9);
    EXPECT_EQ(s.views[v].warp, (Mat3{0.8, 0, -0.8 * 16, 0, 0.8, 0, 0, 0, 1}));
  }
  EXPECT_NEAR(radius, 2.7, 1e-12);
  EXPECT_TRUE(mentions(read_set_file(o.output_dir).recipe, {"declared focal length"}));
}

// Real geometry: outlines through the written cameras agree.
TEST(Preprocess, TheDemoRecordingMeetsAtTheOrigin) {
  const auto recording = mfl::test::shared_data_folder() / "markerless_mouse_demo";
  if (!have_image_files() || !fs::exists(recording)) GTEST_SKIP() << recording << " is not there";
  const TempFolder folder;
  Options o = options_for(recording.string(), folder / "out");
  o.num_samples = 4, o.interval = 1, o.guard_seconds = 0, o.image_size = 256, o.center = Center::hull;
  EXPECT_EQ(run(o).written, 4);
  const Sample s = read_sample({"frame_000002", (fs::path(o.output_dir) / "frame_000002").string()});
  for (const View& v : s.views) {
    double area = 0, u = 0, w = 0;
    for (int y = 0; y < 256; ++y)
      for (int x = 0; x < 256; ++x) {
        const double a = v.image.row(y)[4 * x + 3];
        area += a, u += a * (x + 0.5), w += a * (y + 0.5);
      }
    EXPECT_NEAR(u / area, 128, 12) << v.name << ", which sees the tail on one side";
    EXPECT_NEAR(w / area, 128, 12) << v.name;
  }
}

}  // namespace
}  // namespace mfl::data::preprocess
