// Cameras: reading, checking, scaling, augmentation and the mouse data set's normalisation.
#include "data/camera.h"

#include <cmath>

#include "tests/data/support.h"

namespace mfl::data {
namespace {
using namespace test;

// Pixel of a world point, in the corner convention.
std::array<double, 2> project(const Camera& c, const Vec3& p) {
  const Mat4& m = c.w2c;
  const double x = m[0] * p[0] + m[1] * p[1] + m[2] * p[2] + m[3], y = m[4] * p[0] + m[5] * p[1] + m[6] * p[2] + m[7];
  const double z = m[8] * p[0] + m[9] * p[1] + m[10] * p[2] + m[11];
  return {c.fx * x / z + c.cx, c.fy * y / z + c.cy};
}

TEST(Camera, TheRingIsFaceLifts) {
  const Camera c = ring_camera(0, 20, 2.7, 50, 512);
  check_camera(c, "ring");
  EXPECT_NEAR(c.fx, 548.9937744140625, 1e-4);
  const Vec3 p = position(c);
  EXPECT_NEAR(p[0], 2.5371700761219524, 1e-6);
  EXPECT_NEAR(p[1], 0, 1e-9);
  EXPECT_NEAR(p[2], 0.9234543869793057, 1e-6);
  EXPECT_NEAR(project(c, {0, 0, 0})[0], 256, 1e-9);
  EXPECT_LT(project(c, {0, 0, 0.1})[1], 256);   // up in the world is up in the image
}

TEST(Camera, InversesAgree) {
  const Camera c = ring_camera(77, -12, 3.1, 40, 64);
  const Mat4 a = inverse(c.w2c), b = rigid_inverse(c.w2c), one = multiply(a, c.w2c);
  for (int i = 0; i < 16; ++i) {
    EXPECT_NEAR(a[i], b[i], 1e-14);
    EXPECT_NEAR(one[i], i % 5 == 0, 1e-14);
  }
}

TEST(Camera, ScalingFollowsEachAxis) {
  const Camera c = ring_camera(10, 0, 2.7, 50, 64);
  const Vec3 point{0.2, -0.1, 0.3};
  const auto before = project(c, point), after = project(scaled(c, 64, 64, 96, 32), point);
  EXPECT_NEAR(after[0], before[0] * 1.5, 1e-12);
  EXPECT_NEAR(after[1], before[1] * 0.5, 1e-12);
}

TEST(Camera, FlipAndRollMoveTheProjectionsAsTheyMoveThePixels) {
  Camera c = ring_camera(40, 15, 2.7, 50, 64);
  c.cx = 30, c.cy = 35.5;
  const Vec3 point{0.2, -0.1, 0.3}, mirrored{-0.2, -0.1, 0.3};
  const auto before = project(c, point);
  const Camera f = flipped(c, 64);
  check_camera(f, "flipped");
  EXPECT_NEAR(project(f, mirrored)[0], 64 - before[0], 1e-12);
  EXPECT_NEAR(project(f, mirrored)[1], before[1], 1e-12);

  const double degrees = 7, a = degrees * 3.14159265358979323846 / 180;
  const Camera r = rolled(c, 64, 64, degrees, "test");
  check_camera(r, "rolled");
  const double dx = before[0] - 32, dy = before[1] - 32;   // counter-clockwise where y points down
  EXPECT_NEAR(project(r, point)[0], std::cos(a) * dx + std::sin(a) * dy + 32, 1e-12);
  EXPECT_NEAR(project(r, point)[1], -std::sin(a) * dx + std::cos(a) * dy + 32, 1e-12);
  c.fy = 1.1 * c.fx;
  EXPECT_TRUE(mentions(message_of([&] { rolled(c, 64, 64, 1, "sample q"); }), {"sample q", "fx", "rotation_range"}));
}

TEST(Camera, NormalisationIsTheMouseDataSets) {
  const nlohmann::json cases = golden()["cameras"];
  ASSERT_EQ(cases.size(), 5u);
  for (const auto& g : cases) {
    std::vector<Mat4> c2w;
    for (const auto& m : g["c2w"]) {
      Mat4 v;
      for (int i = 0; i < 16; ++i) v[i] = m[i / 4][i % 4];
      c2w.push_back(v);
    }
    std::optional<Vec3> up;
    if (!g["given"].is_null()) up = g["given"].get<Vec3>();
    const double ratio = normalise_cameras(c2w, {true, g["z_up"], g["distance"]}, up);
    EXPECT_GT(ratio, 1.0);
    for (std::size_t k = 0; k < c2w.size(); ++k)
      for (int i = 0; i < 16; ++i) EXPECT_NEAR(c2w[k][i], g["expected"][k][i / 4][i % 4].get<double>(), 3e-6) << k << ' ' << i;
  }
}

TEST(Camera, RotationToTheAxisHandlesBothPoles) {
  EXPECT_EQ(rotation_to_axis({0, 0, 1}, true), (std::array<double, 9>{1, 0, 0, 0, 1, 0, 0, 0, 1}));
  EXPECT_EQ(rotation_to_axis({0, 0, -1}, true), (std::array<double, 9>{1, 0, 0, 0, -1, 0, 0, 0, -1}));
  EXPECT_EQ(rotation_to_axis({0, 1, 0}, false), (std::array<double, 9>{1, 0, 0, 0, 1, 0, 0, 0, 1}));
}

}  // namespace
}  // namespace mfl::data
