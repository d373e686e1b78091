#include "data/photo/segment.h"

#include <algorithm>

#include "data/demo/demo.h"
#include "data/image_file.h"
#include "data/photo/barrier_distance.h"
#include "data/recording.h"
#include "data/video_reader.h"
#include "tests/data/support.h"

namespace mfl::data::photo {
namespace {

using namespace test;

double overlap(const Image& a, const Image& b) {
  std::int64_t both = 0, any = 0;
  for (std::size_t i = 0; i < a.pixels.size(); ++i) both += a.pixels[i] && b.pixels[i], any += a.pixels[i] || b.pixels[i];
  return any ? static_cast<double>(both) / static_cast<double>(any) : 0;
}

struct Scores {
  std::vector<double> iou;
  double median() {
    std::sort(iou.begin(), iou.end());
    return iou.at(iou.size() / 2);
  }
  double worst() { return *std::min_element(iou.begin(), iou.end()); }
};

// Of the given frames of every camera; `video`: against the camera's background over time.
Scores scores(const Recording& r, const std::vector<std::int64_t>& frames, bool video) {
  Scores out;
  for (std::size_t k = 0; k < r.cameras.size(); ++k) {
    std::unique_ptr<BackgroundModel> model;
    if (video) model = std::make_unique<BackgroundModel>(r.videos[k]);
    VideoReader colours(r.videos[k]), masks(r.masks[k]);
    Image im, grey;
    for (const std::int64_t n : frames) {
      while (colours.position() < n) colours.skip(), masks.skip();
      colours.read(im), masks.read_grey(grey);
      preprocess::Mask truth;
      preprocess::find_mask(grey, truth);
      const Segmentation s = model ? model->segment(im) : segment_animal(im);
      out.iou.push_back(overlap(truth.image, s.mask.image));
      EXPECT_GE(s.confidence, 0.4) << "camera " << k << ", frame " << n << ", IoU " << out.iou.back();
      EXPECT_LE(s.confidence, 1);
    }
  }
  return out;
}

TEST(Segmentation, TheBarrierDistanceIsTheLeastRangeOfAPath) {
  // A ramp reaches the border along itself; an island costs its step.
  const int w = 9, h = 7;
  std::vector<float> v(w * h);
  std::vector<std::uint8_t> seeds(w * h);
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x) v[y * w + x] = static_cast<float>(10 * y), seeds[y * w + x] = x == 0 || y == 0 || x == w - 1 || y == h - 1;
  v[3 * w + 4] = 90;
  const std::vector<float> d = barrier_distance(v, seeds, w, h);
  EXPECT_EQ(d[3 * w + 2], 0);    // along its row
  EXPECT_EQ(d[3 * w + 4], 50);   // from the row below it: 90 - 40
  EXPECT_EQ(d[0], 0);
}

TEST(Segmentation, FindsADiscAndIsTheSameEveryTime) {
  if (!have_segmentation()) GTEST_SKIP() << "built without OpenCV";
  Image im(160, 120, 3), truth(160, 120, 1);
  for (int y = 0; y < 120; ++y)
    for (int x = 0; x < 160; ++x) {
      const bool in = (x - 90) * (x - 90) + (y - 60) * (y - 60) < 20 * 20;
      truth.row(y)[x] = in ? 255 : 0;
      std::uint8_t* p = im.row(y) + 3 * x;
      const int noise = (x * 7 + y * 13) % 5;
      p[0] = static_cast<std::uint8_t>((in ? 90 : 180) + noise), p[1] = static_cast<std::uint8_t>((in ? 60 : 180) + noise),
      p[2] = static_cast<std::uint8_t>((in ? 40 : 180) + noise);
    }
  const Segmentation a = segment_animal(im), b = segment_animal(im);
  EXPECT_GT(overlap(a.mask.image, truth), 0.93);
  EXPECT_GT(a.confidence, 0.75);
  EXPECT_EQ(a.mask.image.pixels, b.mask.image.pixels);
  EXPECT_EQ(a.confidence, b.confidence);
}

TEST(Segmentation, NothingInAPlainPictureIsNotSure) {
  if (!have_segmentation()) GTEST_SKIP() << "built without OpenCV";
  Image im(96, 96, 3);
  for (std::size_t i = 0; i < im.pixels.size(); ++i) im.pixels[i] = static_cast<std::uint8_t>(120 + (i * 2654435761u >> 13) % 4);
  const Segmentation s = segment_animal(im);
  EXPECT_LT(s.confidence, 0.4);
  EXPECT_FALSE(s.reasons.empty());
  Image tiny(3, 3, 3);   // too small for anything: an answer, not a crash
  EXPECT_LT(segment_animal(tiny).confidence, 0.4);
}

TEST(Segmentation, FindsTheMouseOfAProceduralRecording) {
  if (!have_segmentation()) GTEST_SKIP() << "built without OpenCV";
  const TempFolder folder;
  demo::Options o;
  o.output = folder / "recording";
  o.frames = 24;
  o.width = o.height = 256;
  demo::make_recordings(o, [](std::int64_t, std::int64_t) {});
  const Recording r = open_recording(o.output);
  Scores s = scores(r, {2, 20}, false);
  std::printf("photo: IoU median %.3f, worst %.3f\n", s.median(), s.worst());
  EXPECT_GT(s.median(), 0.75);
  EXPECT_GT(s.worst(), 0.55);
}

TEST(Segmentation, FindsTheMouseOfTheSharedRecording) {
  if (!have_segmentation()) GTEST_SKIP() << "built without OpenCV";
  const char* folder = std::getenv("MFL_SHARED_DATA");
  const std::string path = (folder ? std::string(folder) : std::string(MFL_SOURCE_DIR) + "/../shared/data") + "/markerless_mouse_demo";
  if (!is_recording(path)) GTEST_SKIP() << path << " is not there";
  Scores s = scores(open_recording(path), {0, 60}, false);
  std::printf("photo: IoU median %.3f, worst %.3f\n", s.median(), s.worst());
  EXPECT_GT(s.median(), 0.93);
  EXPECT_GT(s.worst(), 0.88);
}

}  // namespace
}  // namespace mfl::data::photo
