#include <algorithm>
#include <opencv2/imgproc.hpp>

#include "data/photo/features.h"
#include "data/photo/outline.h"
#include "data/photo/segment.h"
#include "data/video_reader.h"

namespace mfl::data::photo {
namespace {

std::vector<Image> sampled(const std::string& path, std::int64_t start, std::int64_t end, int samples) {
  VideoReader video(path);
  if (end < 0 || end > video.frames()) end = video.frames();
  if (start < 0 || start >= end) throw_error<ConfigError>(path, ": frames ", start, " to ", end, " of ", video.frames(), " are none");
  const std::int64_t n = std::min<std::int64_t>(samples, end - start);
  std::vector<Image> frames(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t wanted = start + i * (end - start) / n;
    while (video.position() < wanted) video.skip();
    video.read(frames[static_cast<std::size_t>(i)]);
  }
  return frames;
}

}  // namespace

BackgroundModel::BackgroundModel(const std::string& video, std::int64_t start, std::int64_t end, int samples)
    : BackgroundModel(sampled(video, start, end, samples)) {}

BackgroundModel::BackgroundModel(const std::vector<Image>& frames) {
  MFL_CHECK(!frames.empty(), "a background needs frames");
  const Image& first = frames[0];
  median_ = Image(first.width, first.height, 3);
  for (const Image& f : frames)
    MFL_CHECK(f.channels == 3 && f.width == first.width && f.height == first.height, "a background's frames must be RGB of one size");
  const std::size_t n = frames.size();
#pragma omp parallel
  {
    std::vector<std::uint8_t> values(n);
#pragma omp for
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(median_.pixels.size()); ++i) {
      for (std::size_t k = 0; k < n; ++k) values[k] = frames[k].pixels[static_cast<std::size_t>(i)];
      std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(n / 2), values.end());
      median_.pixels[static_cast<std::size_t>(i)] = values[n / 2];
    }
  }
}
BackgroundModel::~BackgroundModel() = default;
const Image& BackgroundModel::background() const { return median_; }

Segmentation BackgroundModel::segment(const Image& rgb) const {
  if (rgb.width != median_.width || rgb.height != median_.height || rgb.channels != 3)
    throw_error<DataError>("a frame of ", rgb.width, " x ", rgb.height, " against a background of ", median_.width, " x ", median_.height);
  const cv::Mat now = reduced_features(rgb, kSalienceSide), before = reduced_features(median_, kSalienceSide);
  Salience s{now.cols, now.rows, {}, {}, 0};
  s.values.resize(static_cast<std::size_t>(now.cols) * now.rows);
  for (int y = 0; y < now.rows; ++y)
    for (int x = 0; x < now.cols; ++x) {
      const cv::Vec3b a = now.at<cv::Vec3b>(y, x), b = before.at<cv::Vec3b>(y, x);
      s.values[static_cast<std::size_t>(y) * now.cols + x] = static_cast<float>(std::abs(a[0] - b[0]) + std::abs(a[1] - b[1]) + std::abs(a[2] - b[2]));
    }
  return outline(rgb, s);
}

}  // namespace mfl::data::photo
