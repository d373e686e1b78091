// The outline of what stands out, from a rough map of how much each pixel does. OpenCV only in outline.cpp.
#pragma once

#include <string>
#include <vector>

#include "data/photo/segment.h"

namespace mfl::data::photo {

// [height, width], how much a pixel of the reduced picture stands out, in units of the picture's own noise or contrast: 0 nothing.
struct Salience {
  int width = 0, height = 0;
  std::vector<float> values;
  std::vector<std::string> reasons;   // what made it doubtful
  double doubt = 0;                   // in [0, 1]: taken from the confidence
};

inline constexpr int kSalienceSide = 256;   // longer side of the reduced picture

// Chooses the part that stands out most, draws its outline with GrabCut at the picture's own resolution (a part above kRefineSide
// pixels is reduced), and judges it.
inline constexpr int kRefineSide = 360;
Segmentation outline(const Image& rgb, const Salience&);

}  // namespace mfl::data::photo
