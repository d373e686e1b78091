// The animal's outline in one raw frame: a lossy mask video, thresholded at its own resolution.
#pragma once

#include <cstdint>

#include "data/image.h"

namespace mfl::data::preprocess {

struct Mask {
  Image image;                                   // grey, 255 animal, 0 else
  std::int64_t area = 0;                         // pixels; 0: nothing there, and the rest means nothing
  double u = 0, v = 0;                           // centroid, integer = pixel centre
  int left = 0, top = 0, right = 0, bottom = 0;  // bounding box, right and bottom exclusive
  bool on_border = false;                        // touches the frame's border: the animal may be cut off
  std::int64_t dropped = 0;                      // pixels above the threshold outside the largest component
};

// Luma above `threshold`, of which the largest component (8 neighbours) stays; of equal ones the first in reading
// order. `mask` is reused.
void find_mask(const Image& luma, Mask& mask, int threshold = 127);

}  // namespace mfl::data::preprocess
