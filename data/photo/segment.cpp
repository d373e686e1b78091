#include "data/photo/segment.h"

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>

#include "data/photo/barrier_distance.h"
#include "data/photo/features.h"
#include "data/photo/outline.h"

namespace mfl::data::photo {
namespace {

// Distances of all channels from the seeds, summed.
std::vector<float> distance_of(const cv::Mat& features, const std::vector<std::uint8_t>& seeds) {
  const int w = features.cols, h = features.rows;
  std::vector<float> sum(static_cast<std::size_t>(w) * h), plane(sum.size());
  for (int c = 0; c < 3; ++c) {
    for (int y = 0; y < h; ++y)
      for (int x = 0; x < w; ++x) plane[static_cast<std::size_t>(y) * w + x] = features.at<cv::Vec3b>(y, x)[c];
    const std::vector<float> d = barrier_distance(plane, seeds, w, h);
    for (std::size_t i = 0; i < d.size(); ++i) sum[i] += d[i];
  }
  return sum;
}

}  // namespace

bool have_segmentation() { return true; }

Segmentation segment_animal(const Image& rgb) {
  MFL_CHECK(rgb.channels == 3, "segment_animal: an RGB picture was expected, got ", rgb.channels, " channels");
  const cv::Mat features = reduced_features(rgb, kSalienceSide);
  const int w = features.cols, h = features.rows;
  Salience s{w, h, {}, {}, 0};
  std::vector<std::uint8_t> seeds(static_cast<std::size_t>(w) * h);
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x) seeds[static_cast<std::size_t>(y) * w + x] = x < 2 || y < 2 || x >= w - 2 || y >= h - 2;
  s.values = distance_of(features, seeds);
  return outline(rgb, s);
}

}  // namespace mfl::data::photo
