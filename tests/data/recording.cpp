#include "data/recording.h"

#include <cmath>
#include <numeric>

#include "runtime/io/byte_source.h"
#include "support.h"
#include "tests/support/shared_files.h"

namespace mfl::data {
namespace {

using mfl::test::own_golden;
using mfl::test::shared_data_folder;
using test::TempFolder;
namespace fs = std::filesystem;

std::string calibration(const std::string& name) { return (own_golden("new_cam") / (name + ".pkl")).string(); }

// The rig of tests/golden/make_new_cam.py.
RawCamera expected(int k) {
  RawCamera c;
  c.K = {1600.5 + k, -1.25 * k, 600.25, 0, 1610.75 - k, 490.5 + k, 0, 0, 1};
  const double a = 0.3 + 0.7 * k, b = 0.1 * k;
  c.R = {std::cos(a),
         0,
         std::sin(a),
         std::sin(b) * std::sin(a),
         std::cos(b),
         -std::sin(b) * std::cos(a),
         -std::cos(b) * std::sin(a),
         std::sin(b),
         std::cos(b) * std::cos(a)};
  c.T = {10.5 * k, -3.25, 300.0 + k};
  return c;
}
void expect_rig(const std::vector<RawCamera>& rig, std::size_t count, bool maps, double tolerance) {
  ASSERT_EQ(rig.size(), count);
  for (int k = 0; k < static_cast<int>(count); ++k) {
    const RawCamera &c = rig[static_cast<std::size_t>(k)], e = expected(k);
    for (std::size_t i = 0; i < 9; ++i) {
      EXPECT_NEAR(c.K[i], e.K[i], tolerance * 1000) << "camera " << k << " K " << i;
      EXPECT_NEAR(c.R[i], e.R[i], tolerance) << "camera " << k << " R " << i;
    }
    for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(c.T[i], e.T[i], tolerance * 1000);
    EXPECT_EQ(c.width, maps ? 6 : 0);
    EXPECT_EQ(c.height, maps ? 4 : 0);
    EXPECT_NO_THROW(check_raw_camera(c, "camera"));
  }
}

TEST(NewCam, EveryProtocolAndFormReadsTheSame) {
  for (const char* form : {"protocol", "no_maps_protocol", "fortran_protocol"})
    for (int p = 0; p <= 5; ++p) {
      SCOPED_TRACE(form + std::to_string(p));
      expect_rig(read_new_cam(calibration(form + std::to_string(p))), 3, form[0] != 'n', 1e-15);
    }
  for (const char* name : {"int_keys", "text_keys", "row_t", "big_endian", "tuple"}) {
    SCOPED_TRACE(name);
    expect_rig(read_new_cam(calibration(name)), 3, true, 1e-15);
  }
  expect_rig(read_new_cam(calibration("five_cameras")), 5, true, 1e-15);
  expect_rig(read_new_cam(calibration("float32")), 3, true, 1e-7);
  for (const char* name : {"legacy_protocol0", "legacy_protocol2"}) {
    SCOPED_TRACE(name);
    expect_rig(read_new_cam(calibration(name)), 3, false, 1e-15);
  }
}

TEST(NewCam, WhatIsWrongIsSaid) {
  auto said = [](const char* name) { return test::message_of([&] { read_new_cam(calibration(name)); }); };
  EXPECT_TRUE(test::mentions(said("bad_missing_key"), {"bad_missing_key.pkl, camera 1", "no key R", "K, T"}));
  EXPECT_TRUE(test::mentions(said("bad_nan"), {"camera 2, R", "finite"}));
  EXPECT_TRUE(test::mentions(said("bad_shape"), {"camera 0, K", "4", "3, 3"}));
  EXPECT_TRUE(test::mentions(said("bad_type"), {"camera 0, K", "i64", "float64"}));
  EXPECT_TRUE(test::mentions(said("bad_key_gap"), {"keys 0 to 1", "1 is missing"}));
  EXPECT_TRUE(test::mentions(said("bad_one_camera"), {"one camera on its own"}));
  EXPECT_TRUE(test::mentions(said("bad_empty"), {"0 cameras"}));
  for (int p = 0; p <= 5; ++p) {
    const std::string name = "bad_global_protocol" + std::to_string(p);
    EXPECT_TRUE(test::mentions(said(name.c_str()), {"\"posix system\"", "not on the list"}));
  }
  EXPECT_TRUE(test::mentions(said("no_such"), {"no_such.pkl"}));
}

TEST(NewCam, EveryCutIsRefused) {
  for (int p = 0; p <= 5; ++p) {
    const std::string path = calibration("protocol" + std::to_string(p));
    const auto file = io::open_file(path);
    const std::vector<std::byte> all = file->read(0, file->size());
    for (std::size_t n = 0; n < all.size(); n += p == 0 ? 7 : 3)
      EXPECT_THROW(parse_new_cam(std::span(all).first(n), "cut"), DataError) << "protocol " << p << " cut to " << n;
  }
}

TEST(NewCam, WhatIsWrittenIsReadBackExactly) {
  const TempFolder folder;
  std::vector<RawCamera> rig;
  for (int k = 0; k < 6; ++k) rig.push_back(expected(k));
  write_new_cam(folder / "new_cam.pkl", rig);
  const std::vector<RawCamera> back = read_new_cam(folder / "new_cam.pkl");
  ASSERT_EQ(back.size(), rig.size());
  for (std::size_t k = 0; k < rig.size(); ++k) {
    EXPECT_EQ(back[k].K, rig[k].K);
    EXPECT_EQ(back[k].R, rig[k].R);
    EXPECT_EQ(back[k].T, rig[k].T);
  }
}

TEST(NewCam, GeometryIsChecked) {
  RawCamera c = expected(1);
  for (std::size_t i = 0; i < 3; ++i) c.R[i] = -c.R[i];
  EXPECT_TRUE(
      test::mentions(test::message_of([&] { check_raw_camera(c, "camera 1"); }), {"camera 1", "det R = -1", "mirror"}));
  c = expected(1), c.R[4] *= 1.01;
  EXPECT_TRUE(test::mentions(test::message_of([&] { check_raw_camera(c, "camera 1"); }), {"no rotation"}));
  c = expected(1), std::swap(c.K[2], c.K[6]);
  EXPECT_TRUE(test::mentions(test::message_of([&] { check_raw_camera(c, "camera 1"); }), {"transposed"}));
  c = expected(1), c.K[0] = -c.K[0];
  EXPECT_TRUE(test::mentions(test::message_of([&] { check_raw_camera(c, "camera 1"); }), {"positive"}));
}

TEST(Recording, TheDemoOpens) {
  const auto folder = shared_data_folder() / "markerless_mouse_demo";
  if (!fs::exists(folder)) GTEST_SKIP() << folder << " is not there";
  EXPECT_TRUE(is_recording(folder.string()));
  const Recording r = open_recording(folder.string());
  EXPECT_EQ(r.cameras.size(), 6u);
  EXPECT_EQ(r.frames, 120);
  for (std::size_t c = 0; c < 6; ++c) {
    EXPECT_EQ(r.cameras[c].width, 1152);
    EXPECT_EQ(r.cameras[c].height, 1024);
    EXPECT_NO_THROW(check_raw_camera(r.cameras[c], "camera"));
    EXPECT_EQ(fs::path(r.videos[c]).filename(), std::to_string(c) + ".mp4");
  }
}

}  // namespace
}  // namespace mfl::data
