#include "data/preprocess/rig.h"

#include <cmath>
#include <numbers>
#include <set>

#include "data/preprocess/compat_facelift.h"
#include "data/preprocess/linear.h"
#include "tests/data/support.h"

namespace mfl::data::preprocess {
namespace {

// The published calibration of the real rig and projections that were published with it.
nlohmann::json published() {
  std::ifstream in(std::string(MFL_SOURCE_DIR) + "/tests/golden/data/mouse_rig.json");
  return nlohmann::json::parse(in);
}
std::vector<RawCamera> mouse_rig() {
  std::vector<RawCamera> rig;
  const auto cameras = published()["cameras"];
  for (const auto& j : cameras) {
    RawCamera c;
    c.width = 1152, c.height = 1024;
    c.K = j["K"].get<Mat3>(), c.R = j["R"].get<Mat3>();
    c.T = scaled_by(-1, product(c.R, j["C"].get<Vec3>()));
    rig.push_back(c);
  }
  return rig;
}
const Vec3 kAnimal{75.9, 62.9, 29.0};  // its mean place in the real recording, mm

TEST(Rig, GoldenProjectionsOfTheRealRig) {
  const std::vector<RawCamera> rig = mouse_rig();
  const auto points = published()["points"];
  ASSERT_EQ(points.size(), 4u);
  for (const auto& p : points)
    for (std::size_t k = 0; k < 6; ++k) {
      const Projection q = project(rig[k], p["X"].get<Vec3>());
      EXPECT_NEAR(q.u, p["uv"][k][0].get<double>(), 1e-9) << "frame " << p["raw_frame"] << " camera " << k;
      EXPECT_NEAR(q.v, p["uv"][k][1].get<double>(), 1e-9) << "frame " << p["raw_frame"] << " camera " << k;
      EXPECT_GT(q.depth, 0);
    }
}

TEST(Rig, RaysThroughProjectionsMeetInThePoint) {
  const std::vector<RawCamera> rig = mouse_rig();
  const auto points = published()["points"];
  for (const auto& p : points) {
    std::vector<Vec3> origins, directions;
    for (std::size_t k = 0; k < 6; ++k)
      origins.push_back(position(rig[k])), directions.push_back(ray(rig[k], p["uv"][k][0], p["uv"][k][1]));
    const Meeting m = meet(origins, directions, "test");
    EXPECT_LT(length(minus(m.point, p["X"].get<Vec3>())), 1e-9);
    EXPECT_LT(m.rms, 1e-9);
  }
  EXPECT_TRUE(test::mentions(test::message_of([] {
                               meet({{0, 0, 0}, {1, 0, 0}}, {{0, 0, 1}, {0, 0, 1}}, "two rays");
                             }),
                             {"two rays", "parallel"}));
}

TEST(Rig, GeometryOfTheRealRig) {
  const std::vector<RawCamera> rig = mouse_rig();
  const Vec3 up = rig_up(rig);
  EXPECT_GT(up[2], 0.9998);
  const Meeting axes = optical_axes_meeting(rig);
  EXPECT_NEAR(axes.point[0], 46.9, 0.05);
  EXPECT_NEAR(axes.point[1], 49.2, 0.05);
  EXPECT_NEAR(axes.point[2], 59.6, 0.05);
  const Similarity s = facelift_similarity(rig, room_rotation(rig, 0), axes.point);
  EXPECT_NEAR(2.7 / s.scale, 311.65, 0.05);
  EXPECT_NEAR(determinant(s.rotation), 1, 1e-12);
  const Vec3 reference = transformed(s, position(rig[0]));
  EXPECT_NEAR(std::atan2(reference[1], reference[0]), -std::numbers::pi / 2, 1e-12);
  double mean = 0;
  for (const RawCamera& c : rig) mean += length(transformed(s, position(c))) / 6;
  EXPECT_NEAR(mean, 2.7, 1e-12);
}

// The table of slots that an exhaustive search over all orders found.
TEST(Rig, RingAndPromptSlotsOfTheRealRig) {
  const std::vector<RawCamera> rig = mouse_rig();
  const Vec3 centre = optical_axes_meeting(rig).point;
  const int expected[6][6] = {{0, 4, 2, 1, 3, 5}, {1, 3, 5, 0, 4, 2}, {2, 1, 3, 5, 0, 4},
                              {3, 5, 0, 4, 2, 1}, {4, 2, 1, 3, 5, 0}, {5, 0, 4, 2, 1, 3}};
  const double largest[6] = {32, 36, 32, 32, 36, 36};
  for (int reference = 0; reference < 6; ++reference) {
    const std::vector<double> azimuths = relative_azimuths(rig, centre, reference);
    EXPECT_EQ(ring_order(azimuths, reference), std::vector<int>(expected[reference], expected[reference] + 6));
    const SlotTable t = assign_slots(azimuths, reference);
    double worst = 0;
    for (std::size_t slot = 0; slot < 6; ++slot)
      EXPECT_EQ(t.slot[static_cast<std::size_t>(expected[reference][slot])], static_cast<int>(slot))
          << "reference " << reference;
    for (double e : t.error) worst = std::max(worst, e);
    EXPECT_NEAR(worst, largest[reference], 0.6) << "reference " << reference;
  }
}

TEST(Rig, FewerAndMoreCamerasThanPrompts) {
  const SlotTable three = assign_slots({0, 120, -120}, 0);
  EXPECT_EQ(three.slot, (std::vector<int>{0, 4, 2}));
  std::vector<double> eight;
  for (int k = 0; k < 8; ++k) eight.push_back(std::remainder(45.0 * k, 360));
  const SlotTable t = assign_slots(eight, 0);
  EXPECT_EQ(t.slot, (std::vector<int>{0, 5, 4, -1, 3, -1, 2, 1}));
  for (double e : t.error) EXPECT_NEAR(e, 0, 1e-12);
}

// A point of the world, projected by the raw calibration and warped, against its projection by the written camera.
void expect_true(const RawCamera& raw, const Similarity& s, const VirtualView& v, const std::string& what) {
  EXPECT_NO_THROW(check_camera(v.camera, what));
  double worst = 0;
  for (int y = 0; y <= 8; ++y)
    for (int x = 0; x <= 8; ++x)
      for (const double depth : {120.0, 300.0, 900.0}) {
        const Vec3 d = ray(raw, x * raw.width / 8.0 - 0.5, y * raw.height / 8.0 - 0.5);
        Vec3 p = position(raw);
        for (int i = 0; i < 3; ++i) p[i] += depth * d[i];
        const Projection seen = project(raw, p);
        const Vec3 warped = product(v.warp, Vec3{seen.u + 0.5, seen.v + 0.5, 1});
        const Projection written = project(v.camera, transformed(s, p));
        if (!(warped[2] > 0)) continue;
        EXPECT_GT(written.depth, 0);
        worst = std::max(worst, std::hypot(warped[0] / warped[2] - written.u, warped[1] / warped[2] - written.v));
      }
  EXPECT_LT(worst, 1e-7) << what << ", px over the whole frame";
}

TEST(Rig, WrittenCamerasAreTrueForTheWarpedPixels) {
  const std::vector<RawCamera> rig = mouse_rig();
  for (std::size_t k = 0; k < 6; ++k)
    for (const bool aim : {false, true})
      for (const double zoom : {0.5, 1.0, 2.5})
        for (const int size : {256, 512}) {
          RawCamera raw = rig[k];
          raw.K[1] *= 10;  // a skew and a principal point worse than any real camera's
          raw.K[2] += 250, raw.K[5] -= 180;
          for (const RawCamera& c : {rig[k], raw}) {
            const Similarity s = facelift_similarity(rig, room_rotation(rig, 2), kAnimal);
            const auto forward = aim ? std::optional(minus(kAnimal, position(c))) : std::nullopt;
            const VirtualView v = virtual_view(c, s, forward, size, zoom, "camera");
            EXPECT_NEAR(v.camera.fx, zoom * 548.9937744140625 * size / 512, 1e-10);
            EXPECT_EQ(v.camera.fx, v.camera.fy);
            EXPECT_EQ(v.camera.cx, size / 2.0);
            expect_true(c, s, v, text("camera ", k, aim ? " aimed" : " kept", " zoom ", zoom, " size ", size));
            if (!aim) continue;
            const Projection origin = project(v.camera, {0, 0, 0});
            EXPECT_NEAR(origin.u, size / 2.0, 1e-9);
            EXPECT_NEAR(origin.v, size / 2.0, 1e-9);
            EXPECT_NEAR(project(v.camera, {0, 0, 0.1}).u, size / 2.0, 1e-9) << "up in the world is up in the image";
            EXPECT_LT(project(v.camera, {0, 0, 0.1}).v, size / 2.0);
          }
        }
}

TEST(Rig, ACameraThatLooksStraightDownNeedsItsOwnUp) {
  const std::vector<RawCamera> rig = mouse_rig();
  const Similarity s = facelift_similarity(rig, room_rotation(rig, 0), kAnimal);
  const Vec3 down = scaled_by(-1, row(s.rotation, 2));
  EXPECT_TRUE(test::mentions(test::message_of([&] { virtual_view(rig[0], s, down, 512, 1, "frame 3, camera 0"); }),
                             {"frame 3, camera 0", "--aim keep"}));
}

// The numbers that were found in data sets made by the published script.
TEST(CompatFacelift, SaysByHowMuchTheCamerasAreWrong) {
  const std::vector<RawCamera> rig = mouse_rig();
  const double fx[6] = {816.2, 778.4, 815.2, 803.1, 809.2, 818.4}, cx[6] = {268.7, 279.0, 273.7, 259.3, 288.8, 274.6},
               cy[6] = {245.6, 208.8, 238.8, 275.9, 226.6, 262.1};
  const double off[6] = {16.4, 52.5, 24.7, 20.2, 44.0, 19.6}, rays[6] = {1.15, 3.81, 1.73, 1.43, 3.10, 1.37};
  const double distance[6] = {2.00, 3.38, 2.96, 2.77, 2.59, 2.49};
  const double mean = compat_mean_distance(rig);
  EXPECT_NEAR(mean, 331.4, 0.05);
  for (std::size_t k = 0; k < 6; ++k) {
    const CompatError e = compat_error(rig[k], 512);
    EXPECT_NEAR(e.fx, fx[k], 0.06);
    EXPECT_NEAR(e.cx, cx[k], 0.06);
    EXPECT_NEAR(e.cy, cy[k], 0.06);
    EXPECT_NEAR(e.principal_error, off[k], 0.06);
    EXPECT_NEAR(e.ray_error_degrees, rays[k], 0.006);
    EXPECT_GT(e.focal_ratio, 0.66);
    EXPECT_LT(e.focal_ratio, 0.71);
    const Camera c = compat_camera(rig[k], mean, 512);
    EXPECT_NEAR(length(position(c)), distance[k], 0.006);
    EXPECT_NEAR(c.fx, 548.994, 0.001);
    EXPECT_EQ(c.cx, 256);
    // The pixels themselves are where the homography says.
    const Vec3 corner = product(compat_warp(rig[k], 512), Vec3{64, 0, 1});
    EXPECT_EQ(corner[0], 0);
    EXPECT_EQ(corner[1], 0);
  }
  EXPECT_TRUE(test::mentions(compat_report(rig, 512), {"camera 1, the worst", "52.5 pixels", "0.67 to 0.70"}));
  const auto frames = compat_frames(18000, 2000);
  EXPECT_EQ(frames.size(), 2000u);
  EXPECT_EQ(frames.front(), 900);
  EXPECT_EQ(frames[1], 908);
  EXPECT_EQ(frames.back(), 17091);
}

}  // namespace
}  // namespace mfl::data::preprocess
