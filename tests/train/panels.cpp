#include "train/panels.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <fstream>

#include "train/bitmap_font.h"
#include "train/turntable.h"

namespace mfl {
namespace {
namespace fs = std::filesystem;

Tensor filled(Shape s, float value) {
  Tensor t = Tensor::on_heap(s, DType::f32);
  for (std::int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = value;
  return t;
}
std::array<int, 3> pixel(const data::Image& i, int x, int y) {
  const std::uint8_t* p = i.row(y) + 3 * x;
  return {p[0], p[1], p[2]};
}
using Rgb = std::array<int, 3>;

TEST(Font, EveryGlyphIsSevenRowsOfFive) {
  for (int c = 32; c < 127; ++c) {
    data::Image i(5, 7, 3);
    const std::uint8_t white[3] = {255, 255, 255};
    draw_text(i, 0, 0, std::string(1, static_cast<char>(c)), 1, white);
    int ink = 0;
    for (int k = 0; k < 35; ++k) ink += i.pixels[3 * k] == 255;
    EXPECT_EQ(ink > 0, c != ' ') << static_cast<char>(c);
  }
}

TEST(Font, TextIsCutAtTheEdges) {
  data::Image i(8, 8, 3);
  const std::uint8_t white[3] = {255, 255, 255};
  draw_text(i, -3, -3, "WIDE TEXT", 2, white);
  draw_text(i, 7, 7, "X", 1, white);
  EXPECT_EQ(pixel(i, 7, 7), (Rgb{255, 255, 255}));
}

// Views of 192 pixels are shown at their own size, so the rows' places are known: bars of 11 pixels.
TEST(Panels, RowsAreTargetRenderMasksAndError) {
  constexpr int kSide = 192, kBar = 11;
  Tensor target = filled({2, kSide, kSide, 4}, 0.5f), render = filled({2, kSide, kSide, 3}, 0.5f);
  for (int k = 0; k < kSide * kSide; ++k)
    target.data<float>()[4 * (kSide * kSide + k) + 3] = 1;  // view 1 is all inside
  // View 0: the mask is 1 on the left half, and there the error is 0.15 (half of the scale) in all channels.
  for (int y = 0; y < kSide; ++y)
    for (int x = 0; x < kSide; ++x) {
      target.data<float>()[4 * (y * kSide + x) + 3] = x < kSide / 2 ? 1.0f : 0.0f;
      if (x < kSide / 2)
        for (int c = 0; c < 3; ++c) render.data<float>()[3 * (y * kSide + x) + c] = 0.65f;
    }
  const data::Image i = draw_panel({"run 1", {"view 3 (input)", "view 5"}, target, render});
  EXPECT_EQ(i.width, 2 * kSide);
  EXPECT_EQ(i.height, 3 * kBar + 5 * (kBar + kSide));
  const auto at = [&](int row, int x) { return pixel(i, x, 3 * kBar + row * (kBar + kSide) + kBar + kSide / 2); };
  EXPECT_EQ(at(0, 10), (Rgb{127, 127, 127}));
  EXPECT_EQ(at(1, 10), (Rgb{165, 165, 165}));
  EXPECT_EQ(at(2, 10), (Rgb{104, 150, 104}));  // 255 (0.35 + 0.3 (0.2, 0.8, 0.2))
  EXPECT_EQ(at(2, 150), (Rgb{150, 104, 104}));
  EXPECT_EQ(at(4, 150), (Rgb{76, 76, 76}));  // outside the mask
  const Rgb half = at(4, 10);
  EXPECT_NEAR(half[0], 127, 1);
  EXPECT_NEAR(half[1], 0, 1);
  EXPECT_NEAR(half[2], 127, 1);
  EXPECT_EQ(at(4, kSide + 10), (Rgb{0, 255, 255}));  // no error at all
}

TEST(Panels, WithoutAMaskThereAreThreeRowsAndSmallViewsAreEnlarged) {
  const Tensor target = filled({3, 16, 16, 3}, 1.0f), render = filled({3, 16, 16, 3}, 1.0f);
  const data::Image i = draw_panel({"", {}, target, render});
  EXPECT_EQ(i.width, 3 * 16 * 12);
  EXPECT_EQ(i.height, 3 * 11 + 3 * (11 + 16 * 12));
}

TEST(Panels, AtMostAboutTenViewsAreShown) {
  const Tensor many = filled({25, 8, 8, 3}, 0.2f);
  EXPECT_EQ(draw_panel({"", {}, many, many}).width, 13 * 8 * 24);  // every second
}

TEST(Panels, StripsAreTheViewsSideBySide) {
  Tensor views = filled({2, 3, 4, 3}, 0.0f);
  for (int k = 36; k < 72; ++k) views.data<float>()[k] = 2.0f;
  const data::Image i = draw_strip(views);
  EXPECT_EQ(i.width, 8);
  EXPECT_EQ(i.height, 3);
  EXPECT_EQ(pixel(i, 3, 2), (Rgb{0, 0, 0}));
  EXPECT_EQ(pixel(i, 4, 0), (Rgb{255, 255, 255}));
}

TEST(Panels, EightBitsAreCutNotRounded) {
  Tensor v = filled({1, 1, 3}, 0.999f);
  EXPECT_EQ(pixel(to_image(v), 0, 0), (Rgb{254, 254, 254}));
}

TEST(Turntable, CamerasLookAtTheOriginFromTheEquator) {
  const gslrm::Cameras c = turntable_cameras({});
  ASSERT_EQ(c.c2w.shape(), Shape({8, 4, 4}));
  EXPECT_NEAR(c.fxfycxcy.data<float>()[0], 411.745, 1e-3);
  EXPECT_EQ(c.fxfycxcy.data<float>()[2], 192.0f);
  const float* first = c.c2w.data<float>();  // at -y, looking to +y, x to the right
  const float expected[16] = {1, 0, 0, 0, 0, 0, 1, -2.7f, 0, -1, 0, 0, 0, 0, 0, 1};
  for (int k = 0; k < 16; ++k) EXPECT_NEAR(first[k], expected[k], 1e-6) << k;
  const float* third = first + 2 * 16;  // 90 degrees on: at +x, looking to -x
  EXPECT_NEAR(third[3], 2.7, 1e-6);
  EXPECT_NEAR(third[2], -1, 1e-6);
  for (int i = 0; i < 8; ++i) {
    const float* m = first + 16 * i;
    const double det =
        m[0] * (m[5] * m[10] - m[6] * m[9]) - m[1] * (m[4] * m[10] - m[6] * m[8]) + m[2] * (m[4] * m[9] - m[5] * m[8]);
    EXPECT_NEAR(det, 1, 1e-6);
    // Forward times the radius undoes the position.
    for (int row = 0; row < 3; ++row) EXPECT_NEAR(m[4 * row + 3] + 2.7 * m[4 * row + 2], 0, 1e-6);
  }
}

TEST(Turntable, AStripBelowIsReducedByArea) {
  data::Image frame(20, 10, 3), strip(64, 8, 3);
  for (int y = 0; y < 8; ++y)
    for (int x = 0; x < 64; ++x)
      for (int c = 0; c < 3; ++c) strip.row(y)[3 * x + c] = x % 2 ? 100 : 200;
  const data::Image i = with_strip_below(frame, strip);
  EXPECT_EQ(i.width, 20);
  EXPECT_EQ(i.height, 10 + 2 + 4);
  EXPECT_EQ(pixel(i, 0, 12), (Rgb{200, 200, 200}));
  EXPECT_EQ(pixel(i, 5, 12), (Rgb{150, 150, 150}));
}

class VideoFile : public ::testing::Test {
 protected:
  fs::path folder = fs::temp_directory_path() / ("mfl_video_" + std::to_string(::getpid()));
  std::vector<data::Image> frames{5, data::Image(33, 17, 3)};
  std::string path_before = std::getenv("PATH") ? std::getenv("PATH") : "";
  void SetUp() override { fs::create_directories(folder); }
  void TearDown() override {
    ::setenv("PATH", path_before.c_str(), 1);
    fs::remove_all(folder);
  }
};

TEST_F(VideoFile, IsAnMp4OrAnAnimatedPictureThatSaysWhy) {
  std::string note;
  const fs::path made = write_video(folder / "sub" / "turntable", frames, 30, &note);
  EXPECT_GT(fs::file_size(made), 0u);
  EXPECT_EQ(made.extension() == ".mp4", note.empty()) << note;
}

TEST_F(VideoFile, WithoutFfmpegIsAnAnimatedPicture) {
  ::setenv("PATH", folder.c_str(), 1);
  std::string note;
  EXPECT_EQ(write_video(folder / "turntable", frames, 30, &note).filename(), "turntable_animated.png");
  EXPECT_NE(note.find("no ffmpeg program was found"), std::string::npos) << note;
}

TEST_F(VideoFile, AnEncoderThatDiesDoesNotEndTheProcess) {
  std::ofstream(folder / "ffmpeg") << "#!/bin/sh\nexit 1\n";
  ::chmod((folder / "ffmpeg").c_str(), 0755);
  ::setenv("PATH", folder.c_str(), 1);
  frames.assign(40, data::Image(256, 256, 3));  // more than a socket holds
  std::string note;
  EXPECT_EQ(write_video(folder / "turntable", frames, 30, &note).filename(), "turntable_animated.png");
  EXPECT_NE(note.find("ffmpeg could not encode"), std::string::npos) << note;
}

}  // namespace
}  // namespace mfl
