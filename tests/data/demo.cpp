#include "data/demo/demo.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "data/demo/rig.h"
#include "data/demo/view.h"
#include "data/image_file.h"
#include "data/recording.h"
#include "data/video_reader.h"
#include "support.h"

namespace mfl::data::demo {
namespace {

using test::mentions;
using test::message_of;
using test::sha;
using test::TempFolder;
namespace fs = std::filesystem;

constexpr double kCoarse = 1.5;   // mm: a mesh that is quick to make

TEST(Demo, TheBodyIsClosedAndAnimalSized) {
  const Body body = make_body(0, kCoarse);
  std::map<std::pair<std::uint32_t, std::uint32_t>, int> edges;
  for (const auto& t : body.triangles)
    for (std::size_t k = 0; k < 3; ++k) ++edges[{t[k], t[(k + 1) % 3]}];
  // Where the surface touches itself, an edge may be shared by two pairs; each direction as often as the other.
  for (const auto& [edge, count] : edges) {
    const auto back = edges.find({edge.second, edge.first});
    ASSERT_TRUE(back != edges.end() && back->second == count) << "open at " << body.vertices[edge.first].rest.x << ", "
                                                              << body.vertices[edge.first].rest.y << ", " << body.vertices[edge.first].rest.z;
  }
  const Pose rest = rest_pose();
  const Surface s = bend(body, rest, rest);
  double volume = 0;
  for (const auto& t : body.triangles) volume += dot(s.points[t[0]], cross(s.points[t[1]], s.points[t[2]])) / 6;
  EXPECT_GT(volume, 15e3);   // mm^3, about grams per litre: a mouse of 15 to 40 g
  EXPECT_LT(volume, 40e3);
  for (std::size_t i = 0; i < s.points.size(); ++i) ASSERT_LT(length(s.points[i] - body.vertices[i].rest), 1e-4);
}

TEST(Demo, TheWalkStaysInTheArenaForMinutes) {
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    const Walk walk(300, kArenaCentre, seed);
    for (double t = 0; t < 300; t += 0.25) {
      const Walk::Place a = walk.at(walk.travelled(t)), b = walk.at(walk.travelled(t) + 1);
      ASSERT_LT(length(a.point - kArenaCentre), 80) << "seed " << seed << ", second " << t;
      ASSERT_NEAR(length(b.point - a.point), 1, 0.01);
      ASSERT_LT(std::abs(b.heading - a.heading), 1 / 35.0);
    }
    EXPECT_GT(walk.travelled(300), 300 * 40);
  }
}

TEST(Demo, AWalkDoesNotDependOnItsLength) {
  const Walk brief(2, kArenaCentre, 5), long_one(60, kArenaCentre, 5);
  for (double t = 0; t < 2; t += 0.1) EXPECT_EQ(length(brief.at(brief.travelled(t)).point - long_one.at(long_one.travelled(t)).point), 0);
}

TEST(Demo, FeetStandStillWhileTheyCarry) {
  const Walk walk(20, kArenaCentre, 3);
  int standing = 0, steps = 0;
  for (int f = 0; f < 1000; ++f) {
    const auto a = pose_at(walk, 0.02 * f, 1, 3).keypoints(), b = pose_at(walk, 0.02 * (f + 1), 1, 3).keypoints();
    for (std::size_t i = a.size() - 4; i < a.size(); ++i) {
      ASSERT_NE(a[i].first.find("paw"), std::string::npos);
      ++steps;
      standing += length(b[i].second - a[i].second) < 0.02;
      ASSERT_GT(a[i].second.z, 0) << a[i].first;
      ASSERT_LT(a[i].second.z, 12) << a[i].first;
    }
  }
  EXPECT_GT(standing, 0.5 * steps);
  EXPECT_LT(standing, 0.75 * steps);
}

TEST(Demo, TheRigIsSoundAndUneven) {
  const std::vector<RawCamera> rig = make_rig(512, 512, 9);
  ASSERT_EQ(rig.size(), 6u);
  for (std::size_t k = 0; k < rig.size(); ++k) {
    check_raw_camera(rig[k], "camera " + std::to_string(k));
    const Projection p = project(rig[k], {kArenaCentre.x, kArenaCentre.y, 15});
    EXPECT_NEAR(p.u, 256, 60);
    EXPECT_NEAR(p.v, 256, 60);
    EXPECT_NEAR(p.depth, 325, 60);
    EXPECT_NE(rig[k].K[1], 0);
    EXPECT_NE(rig[k].K[2], 255.5);
    const V d = ray_direction(rig[k], p.u, p.v);   // back along the ray
    const Vec3 c = position(rig[k]);
    const V there = V{c[0], c[1], c[2]} + length(V{c[0], c[1], c[2]} - V{kArenaCentre.x, kArenaCentre.y, 15}) * d;
    EXPECT_LT(length(there - V{kArenaCentre.x, kArenaCentre.y, 15}), 1e-9);
  }
}

// Everything of one frame that the cameras see.
std::vector<View> render(std::uint64_t seed, int size, const Animal& animal, const Animal::State& state) {
  Lighting light;
  light.set_caster(state.surface.points);
  const FloorShadow shadow(light, state.surface.points);
  const std::vector<V> lit = light_on(animal, state, light);
  std::vector<View> views;
  for (const RawCamera& c : make_rig(size, size, seed)) views.push_back(render_view(c, picture_of_arena(c, light, seed), shadow, light, animal, state, lit));
  return views;
}

TEST(Demo, MasksAreTheOutlinesOfTheMesh) {
  const Animal animal(1, 4, kCoarse);
  const Animal::State state = animal.at(0.7);
  const auto rig = make_rig(128, 128, 4);
  const auto views = render(4, 128, animal, state);
  for (std::size_t k = 0; k < views.size(); ++k) {
    double left = 1e9, right = -1e9, top = 1e9, bottom = -1e9;
    for (const V& p : state.surface.points) {
      const Projection q = project(rig[k], {p.x, p.y, p.z});
      left = std::min(left, q.u), right = std::max(right, q.u), top = std::min(top, q.v), bottom = std::max(bottom, q.v);
    }
    int x0 = 1000, x1 = -1, y0 = 1000, y1 = -1;
    double sum = 0;
    for (int y = 0; y < 128; ++y)
      for (int x = 0; x < 128; ++x) {
        const int m = views[k].mask.row(y)[3 * x];
        sum += m / 255.0;
        if (m > 0) x0 = std::min(x0, x), x1 = std::max(x1, x), y0 = std::min(y0, y), y1 = std::max(y1, y);
      }
    // Never beyond the outline; a tip that is thinner than the samples' distance may fall between them.
    left = std::max(0.0, left), right = std::min(127.0, right), top = std::max(0.0, top), bottom = std::min(127.0, bottom);
    EXPECT_TRUE(x0 > left - 0.51 && x0 < left + 3) << k << ": " << x0 << ", " << left;
    EXPECT_TRUE(x1 < right + 0.51 && x1 > right - 3) << k << ": " << x1 << ", " << right;
    EXPECT_TRUE(y0 > top - 0.51 && y0 < top + 3) << k << ": " << y0 << ", " << top;
    EXPECT_TRUE(y1 < bottom + 0.51 && y1 > bottom - 3) << k << ": " << y1 << ", " << bottom;
    EXPECT_GT(sum / (128 * 128), 0.012) << k;
    EXPECT_LT(sum / (128 * 128), 0.12) << k;
  }
}

TEST(Demo, TheSameBitsForASeedAndAnyNumberOfThreads) {
  const int threads = omp_get_max_threads();
  std::map<int, std::string> seen;
  for (const int n : {1, 3}) {
    omp_set_num_threads(n);
    const Animal animal(1, 11, kCoarse);
    for (const View& v : render(11, 64, animal, animal.at(0.3))) seen[n] += sha(v.colour) + sha(v.mask);
  }
  omp_set_num_threads(threads);
  EXPECT_EQ(seen[1], seen[3]);
  const Animal other(1, 12, kCoarse);
  EXPECT_NE(sha(render(12, 64, other, other.at(0.3))[0].colour), seen[1].substr(0, 64));
}

Options small(const std::string& output) {
  Options o;
  o.output = output, o.frames = 3, o.width = 160, o.height = 128, o.frames_per_second = 5, o.seed = 2;
  return o;
}
constexpr auto kSilent = [](std::int64_t, std::int64_t) {};

TEST(Demo, WritesRecordingsWhoseMasksMeetAtTheAnimal) {
  if (!have_image_files()) GTEST_SKIP() << "built without OpenCV";
  const TempFolder folder;
  Options o = small(folder / "many");
  o.animals = 2;
  std::int64_t last = 0, total = 0;
  make_recordings(o, [&](std::int64_t a, std::int64_t b) { last = a, total = b; });
  EXPECT_EQ(last, 6);
  EXPECT_EQ(total, 6);
  for (const char* name : {"animal_0", "animal_1"}) {
    const fs::path at = fs::path(o.output) / name;
    const Recording r = open_recording(at.string());
    EXPECT_EQ(r.frames, 3);
    EXPECT_NEAR(r.frames_per_second, 5, 1e-9);
    ASSERT_EQ(r.cameras.size(), 6u);
    std::ifstream in(at / "truth.json");
    const auto truth = nlohmann::json::parse(in);
    ASSERT_EQ(truth["frames"].size(), 3u);

    std::vector<VideoReader> masks;
    for (const std::string& m : r.masks) masks.emplace_back(m);
    for (std::size_t f = 0; f < 3; ++f) {
      const auto c = truth["frames"][f]["centre"].get<Vec3>();
      EXPECT_EQ(truth["frames"][f]["keypoints"].size(), 14u);
      // The point nearest to the rays through the masks' centroids: sum (I - d d^T) x = sum (I - d d^T) o, by Gauss-Seidel.
      std::array<V, 6> rays, eyes;
      for (std::size_t k = 0; k < 6; ++k) {
        EXPECT_EQ(r.cameras[k].width, 160);
        EXPECT_EQ(r.cameras[k].height, 128);
        Image m;
        masks[k].read_grey(m);
        double n = 0, u = 0, v = 0;
        // Pixels within the animal by 2: the tail, which is little of the volume but much of the outline, falls away.
        for (int y = 2; y < m.height - 2; ++y)
          for (int x = 2; x < m.width - 2; ++x) {
            bool within = true;
            for (int j = -2; j <= 2; ++j)
              for (int i = -2; i <= 2; ++i) within = within && m.row(y + j)[x + i] > 127;
            if (within) n += 1, u += x, v += y;
          }
        ASSERT_GT(n, 50);
        const Vec3 eye = position(r.cameras[k]);
        eyes[k] = {eye[0], eye[1], eye[2]}, rays[k] = ray_direction(r.cameras[k], u / n, v / n);
        const Projection p = project(r.cameras[k], c);
        // An outline's centroid is not the image of the volume's: 4 px of 128 rows at most.
        EXPECT_LT(std::hypot(p.u - u / n, p.v - v / n), 4) << name << " frame " << f << " camera " << k;
      }
      V x{c[0] + 20, c[1] - 20, c[2] + 20};
      for (int i = 0; i < 200; ++i) {
        V sum;
        for (std::size_t k = 0; k < 6; ++k) sum = sum + eyes[k] + dot(x - eyes[k], rays[k]) * rays[k];
        x = (1 / 6.0) * sum;
      }
      EXPECT_LT(length(x - V{c[0], c[1], c[2]}), 3) << name << " frame " << f;
    }
  }
}

TEST(Demo, ErrorsNameTheRemedy) {
  const TempFolder folder;
  const auto message = [](const Options& o) {
    try {
      make_recordings(o, kSilent);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  Options o = small("");
  EXPECT_TRUE(mentions(message(o), {"--output"}));
  o = small(folder / "a");
  o.width = 101;
  EXPECT_TRUE(mentions(message(o), {"--size", "even", "101 x 128"}));
  o = small(folder / "a"), o.frames = 0;
  EXPECT_TRUE(mentions(message(o), {"--frames", "got 0"}));
  o = small(folder / "a"), o.animals = 0;
  EXPECT_TRUE(mentions(message(o), {"--animals", "got 0"}));
  o = small(folder / "a"), o.frames_per_second = std::nan("");
  EXPECT_TRUE(mentions(message(o), {"--fps", "nan"}));
  std::ofstream(folder / "file") << "x";
  o = small(folder / "file");
  EXPECT_TRUE(mentions(message(o), {"file/videos_undist", "cannot be made"}));
  // A recording that is there stays there.
  fs::create_directories(folder / "old/videos_undist");
  std::ofstream(folder / "old/new_cam.pkl") << "x";
  o = small(folder / "old");
  EXPECT_TRUE(mentions(message(o), {"holds a recording already", "--overwrite"}));
  if (!have_image_files()) {
    EXPECT_TRUE(mentions(message(small(folder / "none")), {"videos_undist/0.mp4", "libopencv-dev"}));
  }
}

}  // namespace
}  // namespace mfl::data::demo
