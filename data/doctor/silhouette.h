// The outline of the animal in one view: its mask, and the few numbers that geometry needs of it.
#pragma once

#include <cstdint>
#include <vector>

#include "data/doctor/pinhole.h"
#include "data/image.h"

namespace mfl::data::doctor {

struct Silhouette {
  int width = 0, height = 0;
  std::vector<std::uint8_t> mask;                // [height, width] 1: animal; the largest connected component only
  std::int64_t area = 0;                         // pixels; 0: nothing there
  Pixel centroid;                                // of the mask, corner convention
  int left = 0, top = 0, right = 0, bottom = 0;  // bounding box, right and bottom exclusive
  std::int64_t on_border = 0;                    // mask pixels in the image's outermost rows and columns
  std::vector<Pixel> hull;                       // convex hull of the pixel centres, counter-clockwise in (u, v)

  bool empty() const { return area == 0; }
  bool clipped() const { return on_border > 0; }
  bool at(int x, int y) const { return mask[static_cast<std::size_t>(y) * width + x] != 0; }
};

// Of alpha > 127 (RGBA), else of pixels that are not near-white (RGB: one channel below 250), else of luma > 127
// (grey).
Silhouette silhouette(const Image&);

}  // namespace mfl::data::doctor
