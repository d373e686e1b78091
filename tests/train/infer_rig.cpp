// The canonical rig against FaceLift's own file, and what follows from a camera list.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numbers>

#include <unistd.h>

#include "data/dataset.h"
#include "data/sample_json.h"
#include "tests/support/tiny_gslrm.h"
#include "train/infer/rank_references.h"
#include "train/infer/rig.h"

namespace mfl::infer {
namespace {

namespace fs = std::filesystem;

TEST(InferRig, StandsWhereTheSlotsLook) {
  const std::vector<int> slots = {0, 1, 2, 3, 4, 5};
  const gslrm::Cameras k = canonical_cameras(slots, 512);
  const double azimuth[] = {-90, -135, 180, 90, 0, -45};
  for (int v = 0; v < 6; ++v) {
    const float *m = k.c2w.data<float>() + 16 * v, *f = k.fxfycxcy.data<float>() + 4 * v;
    const double a = azimuth[v] * std::numbers::pi / 180, x = 2.7 * std::cos(a), y = 2.7 * std::sin(a);
    EXPECT_NEAR(m[3], x, 1e-6);
    EXPECT_NEAR(m[7], y, 1e-6);
    EXPECT_NEAR(m[11], 0, 1e-6);
    EXPECT_NEAR(m[2], -x / 2.7, 1e-6);   // looks at the origin
    EXPECT_NEAR(m[6], -y / 2.7, 1e-6);
    EXPECT_NEAR(m[9], -1, 1e-6);         // image rows go down in the world
    EXPECT_FLOAT_EQ(f[0], 548.9937744140625f);
    EXPECT_FLOAT_EQ(f[1], 548.9937744140625f);
    EXPECT_FLOAT_EQ(f[2], 256);
  }
  EXPECT_FLOAT_EQ(canonical_cameras(slots, 32).fxfycxcy.data<float>()[0], 548.9937744140625f / 16);
}

// What the model is told of cameras at inference is what it was told in training: scaled, turned to the up axis, moved to the distance.
TEST(InferRig, CamerasAreNormalisedAsInTraining) {
  const fs::path file = fs::temp_directory_path() / ("mfl_rig_" + std::to_string(::getpid()) + ".h5");
  test::write_scenes(file, 4, 16, 1);
  data::DatasetOptions o;
  o.image_size = 32, o.num_views = 4, o.num_input_views = 2, o.rule = data::ViewRule::fixed;
  o.normalise = data::CameraNormalisation{true, false, 1.5};
  const auto reader = std::make_shared<data::ViewReader>(file.string());
  const data::SamplePlan plan = data::Dataset(reader, o).plan({0, 0});
  std::vector<SizedCamera> cameras;
  for (int v = 0; v < 4; ++v) cameras.push_back({reader->camera(0, v), 16, 16});
  const gslrm::Cameras k = posed_cameras(cameras, o.normalise, {}, 32);
  for (int v = 0; v < 4; ++v) {
    for (int i = 0; i < 16; ++i) EXPECT_FLOAT_EQ(k.c2w.data<float>()[16 * v + i], plan.c2w[std::size_t(v)][std::size_t(i)]) << v << ' ' << i;
    for (int i = 0; i < 4; ++i) EXPECT_FLOAT_EQ(k.fxfycxcy.data<float>()[4 * v + i], plan.fxfycxcy[std::size_t(v)][std::size_t(i)]) << v << ' ' << i;
  }
  fs::remove(file);
}

TEST(InferRig, IsFaceLiftsOwnInItsOrder) {
  const char* shared = std::getenv("MFL_SHARED_DATA");
  const fs::path file = (shared ? fs::path(shared) : fs::path(MFL_SOURCE_DIR) / ".." / "shared" / "data") / "facelift_sample" / "canonical_rig_opencv_cameras.json";
  std::ifstream in(file);
  if (!in) GTEST_SKIP() << file << " is not here";
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  std::vector<data::RecordingInfo> recordings;
  const data::SampleFile theirs = data::parse_sample_file(text, file.string(), recordings, data::Check::form);
  const std::vector<int> slots = {0, 1, 2, 3, 4, 5}, order = {2, 1, 0, 5, 4, 3};
  const gslrm::Cameras ours = canonical_cameras(slots, 512);
  for (std::size_t v = 0; v < 6; ++v) {
    const data::Camera& k = theirs.sample.views.at(static_cast<std::size_t>(order[v])).camera;
    const data::Mat4 c2w = data::inverse(k.w2c);
    for (std::size_t i = 0; i < 16; ++i) EXPECT_NEAR(ours.c2w.data<float>()[16 * v + i], c2w[i], 1e-5) << "slot " << v << ", element " << i;
    EXPECT_FLOAT_EQ(ours.fxfycxcy.data<float>()[4 * v], float(k.fx));
    EXPECT_FLOAT_EQ(ours.fxfycxcy.data<float>()[4 * v + 2], float(k.cx));
  }
}

TEST(InferRankReferences, SaysHowSureItIs) {
  const Estimate e = estimate({1, 2, 3, 4});   // s = 1.29099, t(3) = 3.182
  EXPECT_DOUBLE_EQ(e.mean, 2.5);
  EXPECT_NEAR(e.half, 3.182 * 1.2909944 / 2, 1e-5);
  EXPECT_TRUE(std::isinf(estimate({7}).half));
  std::vector<double> many(31);
  for (std::size_t i = 0; i < many.size(); ++i) many[i] = double(i);
  EXPECT_NEAR(estimate(many).half, 2.0423 * 9.0921 / std::sqrt(31.0), 1e-2);   // t(30) = 2.0423
  // View 1 is always 1 dB ahead of view 0, whatever the object: the paired difference is sure where the means are not.
  const auto scores = rank({{10, 20, 30}, {11, 21, 31}, {11, 22, 29}}, {"a", "b", "c"});
  EXPECT_EQ(scores[0].view, 1);
  EXPECT_EQ(scores.back().view, 0);
  EXPECT_NEAR(scores.back().behind.mean, 1, 1e-12);
  EXPECT_NEAR(scores.back().behind.half, 0, 1e-12);
  const std::string said = describe(scores, 3);
  EXPECT_NE(said.find("view 1 (b) comes out best, but these objects do not tell it from view 2 (c)."), std::string::npos) << said;
}

}  // namespace
}  // namespace mfl::infer
