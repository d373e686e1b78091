// Colours in which an animal differs from its surroundings and a shadow does not much: CIE Lab, lightness weakened, a and b
// strengthened. Needs OpenCV: included by the files that use it only.
#pragma once

#include <opencv2/core.hpp>

#include "data/image.h"

namespace mfl::data::photo {

cv::Mat as_mat(const Image& rgb);                                      // CV_8UC3 in the order R, G, B; shares the pixels
cv::Mat features(const cv::Mat& rgb, double lightness, double chroma); // CV_8UC3
cv::Mat shade_free(const cv::Mat& rgb, double lightness, double chroma);
cv::Mat reduced_features(const Image& rgb, int side);                  // of the picture whose longer side is at most `side`

}  // namespace mfl::data::photo
