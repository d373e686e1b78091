// The files that Gaussians are stored in: golden ones made by other code, round trips with the bounds that the headers state, and
// damaged ones.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <numeric>

#include "models/gslrm/ply.h"
#include "models/gslrm/splat_file.h"
#include "models/gslrm/spz.h"
#include "runtime/io/gzip.h"
#include "runtime/io/safetensors.h"
#include "runtime/rng.h"

namespace mfl::gslrm {
namespace {
namespace fs = std::filesystem;

constexpr float kC0 = 0.28209479177387814f;
constexpr double kDegree = 3.14159265358979 / 180;
double sigmoid(float x) { return 1 / (1 + std::exp(-double(x))); }

std::string bytes_of(const fs::path& p) {
  std::ifstream in(p, std::ios::binary);
  EXPECT_TRUE(in) << p;
  return {std::istreambuf_iterator<char>(in), {}};
}
fs::path golden(const char* name) { return fs::path(MFL_SOURCE_DIR) / "tests/golden/gaussians" / name; }
Gaussians golden_scene() {
  const io::SafetensorsFile f(golden("scene.safetensors").string());
  return {f.load("xyz"), f.load("features"), f.load("scaling"), f.load("rotation"), f.load("opacity")};
}

class GaussianFiles : public ::testing::Test {
 protected:
  fs::path folder = fs::temp_directory_path() / ("mfl_gaussian_files_" + std::to_string(::getpid()));
  fs::path file = folder / "new folder" / "scene";
  void TearDown() override { fs::remove_all(folder); }
};

Gaussians random_scene(std::int64_t n, int coefficients, double extent = 1) {
  Rng rng(3, Draw::test);
  auto fill = [&](Shape s, auto&& value) {
    Tensor t = Tensor::on_heap(s, DType::f32);
    for (std::int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = float(value());
    return t;
  };
  Gaussians g{fill({n, 3}, [&] { return rng.uniform(-extent, extent); }), fill({n, coefficients, 3}, [&] { return rng.uniform(-0.9, 0.9); }),
              fill({n, 3}, [&] { return rng.uniform(-9, 1); }), fill({n, 4}, [&] { return rng.normal(); }),
              fill({n, 1}, [&] { return 3 * rng.normal(); })};
  return g;
}

// Largest differences of what a file gives back of the Gaussians `of`, row r of `back` being row order[r] of `of`.
struct Differences {
  double position = 0, log_scale = 0, colour = 0, opacity = 0, angle = 0, sh1 = 0, sh = 0;
};
Differences between(const Gaussians& of, const Gaussians& back, const std::vector<std::int64_t>& order) {
  Differences d;
  auto most = [](double& x, double y) { x = std::max(x, std::abs(y)); };
  const std::int64_t k = of.features.shape()[1], kb = back.features.shape()[1];
  for (std::size_t r = 0; r < order.size(); ++r) {
    const std::int64_t i = order[r], j = std::int64_t(r);
    double dot = 0, a = 0, b = 0;
    for (int e = 0; e < 3; ++e) {
      most(d.position, double(of.xyz.data<float>()[3 * i + e] - back.xyz.data<float>()[3 * j + e]));
      most(d.log_scale, double(of.scaling.data<float>()[3 * i + e] - back.scaling.data<float>()[3 * j + e]));
      most(d.colour, double(of.features.data<float>()[3 * k * i + e] - back.features.data<float>()[3 * kb * j + e]));
    }
    for (std::int64_t e = 3; e < 3 * std::min(k, kb); ++e)
      most(e < 12 ? d.sh1 : d.sh, double(of.features.data<float>()[3 * k * i + e] - back.features.data<float>()[3 * kb * j + e]));
    most(d.opacity, sigmoid(of.opacity.data<float>()[i]) - sigmoid(back.opacity.data<float>()[j]));
    for (int e = 0; e < 4; ++e) {
      const double p = double(of.rotation.data<float>()[4 * i + e]), q = double(back.rotation.data<float>()[4 * j + e]);
      dot += p * q, a += p * p, b += q * q;
    }
    most(d.angle, 2 * std::acos(std::min(1.0, std::abs(dot) / std::sqrt(a * b))) / kDegree);
  }
  return d;
}
std::vector<std::int64_t> in_order(std::int64_t n) {
  std::vector<std::int64_t> o(static_cast<std::size_t>(n));
  std::iota(o.begin(), o.end(), std::int64_t{0});
  return o;
}
std::vector<std::int64_t> by_importance(const Gaussians& g) {
  auto o = in_order(g.xyz.shape()[0]);
  auto weight = [&](std::int64_t i) {
    const float* s = g.scaling.data<float>() + 3 * i;
    return std::exp(double(s[0]) + double(s[1]) + double(s[2])) * sigmoid(g.opacity.data<float>()[i]);
  };
  std::stable_sort(o.begin(), o.end(), [&](auto a, auto b) { return weight(a) > weight(b); });
  return o;
}
void expect_same(const Gaussians& a, const Gaussians& b) {
  for (const auto& [x, y] : {std::pair{&a.xyz, &b.xyz}, {&a.features, &b.features}, {&a.scaling, &b.scaling}, {&a.rotation, &b.rotation}, {&a.opacity, &b.opacity}}) {
    ASSERT_EQ(x->shape(), y->shape());
    EXPECT_EQ(0, std::memcmp(x->data<float>(), y->data<float>(), x->bytes()));
  }
}

// ---- made by other code ----

TEST_F(GaussianFiles, GoldenPlyOfBothLayoutsIsReadAndWrittenToTheByte) {
  const Gaussians g = golden_scene();
  for (const auto& [name, layout] : {std::pair{"published.ply", PlyLayout::published}, {"inria.ply", PlyLayout::inria}}) {
    expect_same(read_ply(golden(name)), g);
    write_ply(file, g, {.layout = layout});
    EXPECT_EQ(bytes_of(file), bytes_of(golden(name))) << name;
  }
}

TEST_F(GaussianFiles, GoldenSplatIsReadAndWrittenToTheByte) {
  const Gaussians g = golden_scene(), back = read_splat(golden("scene.splat"));
  ASSERT_EQ(back.xyz.shape(), g.xyz.shape());
  const Differences d = between(g, back, by_importance(g));
  EXPECT_EQ(d.position, 0);
  EXPECT_LE(d.log_scale, 1e-6);
  EXPECT_LE(d.opacity, 0.51 / 255);
  EXPECT_LE(d.colour, 0.51 / 255 / double(kC0));
  EXPECT_LE(d.angle, 1.2);
  write_splat(file, g);
  const std::string ours = bytes_of(file), theirs = bytes_of(golden("scene.splat"));
  ASSERT_EQ(ours.size(), theirs.size());
  for (std::size_t i = 0; i < ours.size(); ++i)   // exp and its rounding are another library's
    if (i % 32 >= 12 && i % 32 < 24) {
      float a, b;
      std::memcpy(&a, ours.data() + i / 4 * 4, 4), std::memcpy(&b, theirs.data() + i / 4 * 4, 4);
      EXPECT_NEAR(a / b, 1, 1e-6f);
    } else {
      EXPECT_EQ(ours[i], theirs[i]) << "byte " << i;
    }
}

// ply2splat.splat: written by the package ply2splat 0.6.0 from inria.ply (make_gaussian_files.py --others). It and gaussforge 0.6.0
// read scene.splat, which is ours to the byte (above), as the scene. It cuts bytes where we round them.
TEST_F(GaussianFiles, ASplatFileOfAnotherProgramIsRead) {
  const Gaussians g = golden_scene(), back = read_splat(golden("ply2splat.splat"));
  ASSERT_EQ(back.xyz.shape(), g.xyz.shape());
  const Differences d = between(g, back, by_importance(g));
  EXPECT_EQ(d.position, 0);
  EXPECT_LE(d.log_scale, 1e-6);
  EXPECT_LE(d.opacity, 1.01 / 255);
  EXPECT_LE(d.colour, 1.01 / 255 / double(kC0));
  EXPECT_LE(d.angle, 2.4);
}

// gsply_v3.spz: written by the package gsply 0.4.6, which knows nothing of ours (make_gaussian_files.py --gsply).
TEST_F(GaussianFiles, GoldenSpzOfBothVersionsIsRead) {
  const Gaussians g = golden_scene();
  for (const char* name : {"scene_v2.spz", "scene_v3.spz", "gsply_v3.spz"}) {
    SCOPED_TRACE(name);
    const Gaussians back = read_spz(golden(name));
    ASSERT_EQ(back.features.shape(), g.features.shape());
    const Differences d = between(g, back, in_order(9));
    EXPECT_LE(d.position, 0.5 / 4096 + 1e-6);
    EXPECT_LE(d.log_scale, 1.0 / 32 + 1e-5);
    EXPECT_LE(d.opacity, 0.51 / 255);
    EXPECT_LE(d.colour, 0.51 / 255 / 0.15);
    EXPECT_LE(d.sh1, 4.6 / 128);
    EXPECT_LE(d.sh, 8.6 / 128);
    EXPECT_LE(d.angle, std::string(name) == "scene_v2.spz" ? 14 : 0.3);
  }
}

TEST_F(GaussianFiles, OurSpzIsTheGoldenOneButForItsFinerPositions) {
  const Gaussians g = golden_scene();
  for (int version : {2, 3}) {
    write_spz(file, g, {.version = version});
    const auto ours = io::gunzip(*io::open_file(file)), theirs = io::gunzip(*io::open_file(golden(version == 2 ? "scene_v2.spz" : "scene_v3.spz")));
    ASSERT_EQ(ours.size(), theirs.size());
    EXPECT_EQ(ours[13], std::byte{20});
    EXPECT_TRUE(std::equal(ours.begin(), ours.begin() + 13, theirs.begin()));
    EXPECT_TRUE(std::equal(ours.begin() + 16 + 81, ours.end(), theirs.begin() + 16 + 81)) << "version " << version;
  }
}

// ---- there and back ----

TEST_F(GaussianFiles, EveryDegreeComesBackFromTheInriaLayout) {
  for (int coefficients : {1, 4, 9, 16})
    for (bool viewer : {true, false}) {
      const Gaussians g = random_scene(20, coefficients);
      write_ply(file, g, {.viewer = viewer, .layout = PlyLayout::inria});
      expect_same(read_ply(file), g);
    }
}

TEST_F(GaussianFiles, SplatComesBackWithinItsBounds) {
  const Gaussians g = random_scene(20000, 1);
  write_splat(file, g);
  EXPECT_EQ(fs::file_size(file), 32u * 20000u);
  const Differences d = between(g, read_splat(file), by_importance(g));
  EXPECT_EQ(d.position, 0);
  EXPECT_LE(d.log_scale, 2e-6);
  EXPECT_LE(d.colour, 0.51 / 255 / double(kC0));
  EXPECT_LE(d.opacity, 0.51 / 255);
  EXPECT_LE(d.angle, 1.2);
}

TEST_F(GaussianFiles, SpzComesBackWithinItsBounds) {
  for (int version : {2, 3})
    for (int coefficients : {1, 4, 9, 16}) {
      SCOPED_TRACE(version);
      const Gaussians g = random_scene(5000, coefficients, 7);
      write_spz(file, g, {.version = version});
      const Gaussians back = read_spz(file);
      ASSERT_EQ(back.features.shape(), g.features.shape());
      const Differences d = between(g, back, in_order(5000));
      EXPECT_LE(d.position, std::ldexp(1.0, -21) + 5e-7);   // f32 of 7 is no finer
      EXPECT_LE(d.log_scale, 1.0 / 32 + 1e-5);
      EXPECT_LE(d.colour, 0.51 / 255 / 0.15);
      EXPECT_LE(d.opacity, 0.51 / 255);
      EXPECT_LE(d.sh1, 4.6 / 128);
      EXPECT_LE(d.sh, 8.6 / 128);
      EXPECT_LE(d.angle, version == 3 ? 0.3 : 14);
    }
}

TEST_F(GaussianFiles, ASecondWriteGivesTheSameBytes) {
  const Gaussians g = random_scene(500, 16);
  const fs::path again = folder / "again";
  write_spz(file, g);
  write_spz(again, read_spz(file));
  const auto a = io::gunzip(*io::open_file(file)), b = io::gunzip(*io::open_file(again));
  ASSERT_EQ(a.size(), b.size());
  int different = 0;
  for (std::size_t i = 0; i < a.size(); ++i) different += std::abs(int(a[i]) - int(b[i])) > 1;
  EXPECT_LE(different, 12);   // rotations whose two largest parts are nearly equal
}

TEST_F(GaussianFiles, LargeScenesGetFewerFractionalBits) {
  for (const auto& [extent, bits] : {std::pair{7.9, 20}, {8.1, 19}, {2047.0, 12}, {8e6, 0}}) {
    Gaussians g = random_scene(3, 1);
    g.xyz.data<float>()[4] = float(-extent);
    write_spz(file, g);
    EXPECT_EQ(int(io::gunzip(*io::open_file(file))[13]), bits) << extent;
    EXPECT_NEAR(read_spz(file).xyz.data<float>()[4], -extent, std::ldexp(0.51, -bits) + 1e-6 * extent);
  }
  Gaussians g = random_scene(3, 1);
  g.xyz.data<float>()[4] = 1e7f;
  EXPECT_THROW(write_spz(file, g), DataError);
}

// A Gaussian in the file's axes: half a turn round x.
TEST_F(GaussianFiles, SpzTurnsTheAxes) {
  Gaussians g = random_scene(1, 4);
  for (int e = 0; e < 3; ++e) g.xyz.data<float>()[e] = 0.25f * float(e + 1);
  write_spz(file, g);
  const auto b = io::gunzip(*io::open_file(file));
  auto fixed = [&](std::size_t at) {
    const std::int32_t x = int(b[at]) | int(b[at + 1]) << 8 | int(b[at + 2]) << 16;
    return double(x >= 1 << 23 ? x - (1 << 24) : x) / (1 << 20);
  };
  EXPECT_EQ(fixed(16), 0.25);
  EXPECT_EQ(fixed(19), -0.5);
  EXPECT_EQ(fixed(22), -0.75);
}

TEST_F(GaussianFiles, TheScalingModifierIsBakedIn) {
  const Gaussians g = random_scene(50, 1);
  write_splat(file, g, 2);
  const auto order = by_importance(g);
  EXPECT_NEAR(read_splat(file).scaling.data<float>()[0], g.scaling.data<float>()[3 * order[0]] + std::log(2.0f), 1e-5f);
  write_spz(file, g, {.scaling_modifier = 2});
  EXPECT_NEAR(read_spz(file).scaling.data<float>()[0], g.scaling.data<float>()[0] + std::log(2.0f), 0.04f);
}

TEST_F(GaussianFiles, AnEmptySceneIsAFile) {
  write_splat(file, random_scene(0, 1));
  EXPECT_EQ(read_splat(file).xyz.shape(), Shape({0, 3}));
  write_spz(file, random_scene(0, 4));
  EXPECT_EQ(read_spz(file).features.shape(), Shape({0, 4, 3}));
}

TEST_F(GaussianFiles, OpacitiesOfNothingAndAllStayFinite) {
  Gaussians g = random_scene(2, 1);
  g.opacity.data<float>()[0] = 40, g.opacity.data<float>()[1] = -40;
  write_spz(file, g);
  const Gaussians back = read_spz(file);
  EXPECT_NEAR(back.opacity.data<float>()[0], std::log(1019.0f), 1e-2f);
  EXPECT_NEAR(back.opacity.data<float>()[1], -std::log(1019.0f), 1e-2f);
}

TEST_F(GaussianFiles, WhatNoViewerCanDrawIsNotWritten) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  auto refused = [&](auto&& damage) {
    Gaussians g = random_scene(4, 1);
    damage(g);
    EXPECT_THROW(write_splat(file, g), DataError);
    EXPECT_THROW(write_spz(file, g), DataError);
    EXPECT_FALSE(fs::exists(file));
  };
  refused([&](Gaussians& g) { g.xyz.data<float>()[5] = nan; });
  refused([&](Gaussians& g) { g.scaling.data<float>()[5] = inf; });
  refused([&](Gaussians& g) { g.features.data<float>()[5] = nan; });
  refused([&](Gaussians& g) { g.opacity.data<float>()[2] = nan; });
  refused([&](Gaussians& g) { std::fill_n(g.rotation.data<float>(), 4, 0.0f); });
}

TEST_F(GaussianFiles, GzipUnpacksWhatItPacked) {
  for (std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{100000}}) {
    std::vector<std::byte> bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = std::byte(i * i >> 3 & 255);
    EXPECT_EQ(io::gunzip(*io::memory_source(io::gzip(bytes), "memory")), bytes);
  }
}

}  // namespace
}  // namespace mfl::gslrm
