#include "models/gslrm/ply.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "models/gslrm/filters.h"
#include "runtime/rng.h"

namespace mfl::gslrm {
namespace {
namespace fs = std::filesystem;

class Ply : public ::testing::Test {
 protected:
  fs::path folder = fs::temp_directory_path() / ("mfl_ply_" + std::to_string(::getpid()));
  fs::path file = folder / "new folder" / "gaussians.ply";
  void TearDown() override { fs::remove_all(folder); }
  static std::string bytes(const fs::path& p) {
    std::ifstream in(p, std::ios::binary);
    std::ostringstream s;
    s << in.rdbuf();
    return s.str();
  }
  void write_bytes(const std::string& s) {
    fs::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << s;
  }
};

Tensor ramp(Shape s, float from) {
  Tensor t = Tensor::on_heap(s, DType::f32);
  for (std::int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = from + 0.125f * static_cast<float>(i);
  return t;
}
Gaussians scene(std::int64_t n, std::int64_t coefficients) {
  return {ramp({n, 3}, -1), ramp({n, coefficients, 3}, 0.5f), ramp({n, 3}, -5), ramp({n, 4}, 2), ramp({n, 1}, -0.3f)};
}
void expect_equal(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.shape(), b.shape());
  for (std::int64_t i = 0; i < a.numel(); ++i) EXPECT_EQ(a.data<float>()[i], b.data<float>()[i]) << "element " << i;
}
void expect_equal(const Gaussians& a, const Gaussians& b) {
  expect_equal(a.xyz, b.xyz);
  expect_equal(a.features, b.features);
  expect_equal(a.scaling, b.scaling);
  expect_equal(a.rotation, b.rotation);
  expect_equal(a.opacity, b.opacity);
}

TEST_F(Ply, EveryDegreeComesBackWithAndWithoutPadding) {
  for (const int coefficients : {1, 4, 9, 16})
    for (const bool viewer : {true, false}) {
      const Gaussians g = scene(5, coefficients);
      write_ply(file, g, {.viewer = viewer});
      SCOPED_TRACE(coefficients);
      expect_equal(read_ply(file), g);
    }
}

TEST_F(Ply, AVertexHas239BytesInThePublishedOrder) {
  Gaussians g = scene(2, 4);
  write_ply(file, g);
  const std::string s = bytes(file);
  const std::size_t begin = s.find("end_header\n") + 11;
  EXPECT_EQ(s.size() - begin, 2u * 239u);
  EXPECT_NE(s.find("property float x\nproperty float y\nproperty float z\nproperty uchar red\nproperty uchar green\n"
                   "property uchar blue\nproperty float f_dc_0\n"),
            std::string::npos);
  const auto at = [&](int vertex, std::size_t offset) {
    float x;
    std::memcpy(&x, s.data() + begin + static_cast<std::size_t>(vertex) * 239 + offset, 4);
    return x;
  };
  EXPECT_EQ(at(1, 0), g.xyz.data<float>()[3]);
  EXPECT_EQ(static_cast<std::uint8_t>(s[begin + 12]), 163);  // 255 (0.28209 * 0.5 + 0.5), cut
  EXPECT_EQ(at(0, 15), 0.5f);                                // f_dc_0
  // Coefficient 1 of the channels: at 0, 15 and 30 of f_rest, which begins after 27 bytes.
  EXPECT_EQ(at(0, 27), g.features.data<float>()[3]);
  EXPECT_EQ(at(0, 27 + 4 * 15), g.features.data<float>()[4]);
  EXPECT_EQ(at(0, 27 + 4 * 30), g.features.data<float>()[5]);
  EXPECT_EQ(at(0, 27 + 4 * 3), 0.0f);
  EXPECT_EQ(at(1, 207), g.opacity.data<float>()[1]);
  EXPECT_EQ(at(1, 211), g.scaling.data<float>()[3]);
  EXPECT_EQ(at(1, 223), g.rotation.data<float>()[4]);
}

TEST_F(Ply, TheScalingModifierIsBakedIn) {
  const Gaussians g = scene(3, 1);
  write_ply(file, g, {.scaling_modifier = 2});
  EXPECT_FLOAT_EQ(read_ply(file).scaling.data<float>()[0], g.scaling.data<float>()[0] + std::log(2.0f));
}

TEST_F(Ply, AnEmptySceneIsAFile) {
  write_ply(file, scene(0, 1));
  EXPECT_EQ(read_ply(file).xyz.shape(), Shape({0, 3}));
}

TEST_F(Ply, DamagedFilesAreRefusedWithTheReason) {
  write_ply(file, scene(3, 1));
  const std::string good = bytes(file);
  const auto says = [&](std::string content, const char* part) {
    write_bytes(content);
    try {
      read_ply(file);
      ADD_FAILURE() << "was read; expected: " << part;
    } catch (const DataError& e) {
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    }
  };
  const auto with = [&](const char* from, const char* to) {
    std::string s = good;
    return s.replace(s.find(from), std::strlen(from), to);
  };
  says("", "not a PLY");
  says("ply\nformat", "not a PLY");
  says(good.substr(0, good.size() - 1), "truncated");
  says(with("vertex 3", "vertex 9999999999999999"), "truncated");
  says(with("vertex 3", "vertex -3"), "number of vertices");
  says(with("binary_little_endian", "ascii"), "only binary_little_endian");
  says(with("property float opacity", "property float opacitx"), "property opacity is missing");
  says(with("property float rot_3", "property list uchar int rot_3"), "is not read");
  says(with("property float f_rest_44", "property float f_rost_44"), "44 f_rest");
  says(with("element vertex", "element face"), "element face");
}

TEST_F(Ply, EveryFileOfTheCorpusIsRefused) {
  int files = 0;
  for (const auto& f : fs::directory_iterator(fs::path(MFL_SOURCE_DIR) / "tests/fuzz/corpus/ply")) {
    EXPECT_THROW(read_ply(f.path()), DataError) << f.path();
    ++files;
  }
  EXPECT_GE(files, 11);
}

// Whatever the bytes, the answer is a scene or a DataError.
TEST_F(Ply, DamagedBytesAreRefusedNotFatal) {
  write_ply(file, scene(3, 4), {.viewer = false});
  const std::string good = bytes(file);
  Rng rng(1, Draw::test);
  int refused = 0;
  for (int trial = 0; trial < 500; ++trial) {
    std::string s = good;
    const auto header = static_cast<std::uint32_t>(s.find("end_header") + 11);
    for (std::uint32_t damages = 1 + rng.below(4); damages > 0; --damages) {
      const std::size_t at = rng.below(header);
      if (rng.below(2))
        s[at] = static_cast<char>(rng.bits());
      else
        s.erase(at, 1 + rng.below(8));
    }
    write_bytes(s);
    try {
      read_ply(file);
    } catch (const DataError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 200);
}

TEST(Filters, EachDropsWhatItSays) {
  Gaussians g = scene(6, 1);
  const float xyz[] = {0, 0, 0, 0.95f, 0, 0, 0, 0, 0.5f, -0.7f, 0.7f, -0.7f, 0.1f, 0, -0.1f, 0, 0, 0};
  const float logit[] = {0, 0, 0, 0, 0, -4};         // the last: 0.018
  const float log_scale[] = {-5, -5, 0, -5, 0, -5};  // the third and fifth are large; the third has z > 0
  std::memcpy(g.xyz.data<float>(), xyz, sizeof xyz);
  std::memcpy(g.opacity.data<float>(), logit, sizeof logit);
  for (int i = 0; i < 18; ++i) g.scaling.data<float>()[i] = log_scale[i / 3];
  using Mask = std::vector<std::uint8_t>;
  EXPECT_EQ(keep_mask(g, {}), (Mask{1, 1, 1, 1, 1, 1}));
  EXPECT_EQ(keep_mask(g, {.opacity = 0.02f}), (Mask{1, 1, 1, 1, 1, 0}));
  EXPECT_EQ(keep_mask(g, {.scaling = 0.1f}), (Mask{1, 1, 1, 1, 0, 1}));
  EXPECT_EQ(keep_mask(g, {.floater = 0.6f}), (Mask{1, 1, 1, 0, 1, 1}));
  EXPECT_EQ(keep_mask(g, Filters::visuals()), (Mask{1, 0, 1, 1, 1, 0}));
  EXPECT_EQ(keep_mask(g, Filters::inference()), (Mask{1, 0, 1, 0, 0, 0}));
  const Gaussians kept = filtered(g, Filters::inference());
  ASSERT_EQ(kept.xyz.shape(), Shape({2, 3}));
  EXPECT_EQ(kept.xyz.data<float>()[5], 0.5f);
  EXPECT_EQ(kept.rotation.data<float>()[4], g.rotation.data<float>()[8]);
}

TEST(Filters, EvaluationCropsOnlyWithClipXyz) {
  ModelConfig m;
  EXPECT_FALSE(Filters::evaluation(m).box.has_value());
  m.clip_xyz = true;
  EXPECT_EQ((*Filters::evaluation(m).box)[0], -0.91f);
  m.half_bbx_size = 0.5;
  EXPECT_EQ((*Filters::evaluation(m).box)[5], 0.5f);
}

}  // namespace
}  // namespace mfl::gslrm
