#include "data/photo/features.h"

#include <algorithm>
#include <opencv2/imgproc.hpp>

namespace mfl::data::photo {

cv::Mat as_mat(const Image& rgb) { return {rgb.height, rgb.width, CV_8UC3, const_cast<std::uint8_t*>(rgb.pixels.data())}; }

cv::Mat features(const cv::Mat& rgb, double lightness, double chroma) {
  cv::Mat lab;
  cv::cvtColor(rgb, lab, cv::COLOR_RGB2Lab);
  std::vector<cv::Mat> planes;
  cv::split(lab, planes);
  planes[0].convertTo(planes[0], CV_8U, lightness);
  for (int c = 1; c < 3; ++c) planes[static_cast<std::size_t>(c)].convertTo(planes[static_cast<std::size_t>(c)], CV_8U, chroma, 128 - 128 * chroma);
  cv::Mat out;
  cv::merge(planes, out);
  return out;
}

cv::Mat shade_free(const cv::Mat& rgb, double lightness, double chroma) {
  cv::Mat linear, lab, smooth;
  cv::cvtColor(rgb, lab, cv::COLOR_RGB2Lab);
  rgb.convertTo(linear, CV_32F, 1 / 255.0);
  cv::pow(linear, 2.2, linear);
  cv::GaussianBlur(linear, smooth, cv::Size(), 0.8);
  cv::Mat out(rgb.size(), CV_8UC3);
  for (int y = 0; y < rgb.rows; ++y)
    for (int x = 0; x < rgb.cols; ++x) {
      const cv::Vec3f v = smooth.at<cv::Vec3f>(y, x);
      const double sum = v[0] + v[1] + v[2] + 0.02, third = 0.02 / 3, r = (v[0] + third) / sum - 1 / 3.0, g = (v[1] + third) / sum - 1 / 3.0;
      out.at<cv::Vec3b>(y, x) = {cv::saturate_cast<std::uint8_t>(lightness * lab.at<cv::Vec3b>(y, x)[0]), cv::saturate_cast<std::uint8_t>(128 + chroma * r),
                                 cv::saturate_cast<std::uint8_t>(128 + 1.5 * chroma * g)};
    }
  return out;
}

cv::Mat reduced_features(const Image& rgb, int side) {
  const double f = std::min(1.0, static_cast<double>(side) / std::max(rgb.width, rgb.height));
  cv::Mat small;
  const cv::Size size(std::max(1, static_cast<int>(std::lround(f * rgb.width))), std::max(1, static_cast<int>(std::lround(f * rgb.height))));
  cv::resize(as_mat(rgb), small, size, 0, 0, cv::INTER_AREA);
  cv::medianBlur(small, small, 3);
  return features(small, 0.7, 2.5);
}

}  // namespace mfl::data::photo
