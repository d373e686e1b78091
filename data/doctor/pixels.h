// The images by themselves: foreground share, clipping at the border, alpha, colour range, bit depth.
#pragma once

#include <array>
#include <vector>

#include "data/doctor/subject.h"

namespace mfl::data::doctor {

struct PixelRow {  // one view, over all examined samples
  std::string name;
  double foreground = 0;       // mean alpha
  double least = 1, most = 0;  // of the samples' foreground shares
  int empty = 0, clipped = 0, samples = 0;
  double soft = 0;                   // share of the pixels with any alpha whose alpha is neither 0 nor 255
  double under_zero = 0;             // share of the alpha-0 pixels with a colour
  std::array<int, 2> range{255, 0};  // of the colours under alpha > 127
  double mean = 0;                   // of these colours, 0 to 255
};
struct PixelTable {
  std::vector<PixelRow> rows;
  std::array<double, 32> alpha{};  // histogram of all examined pixels' alpha, shares
  int views8 = 0, views16 = 0, without_alpha = 0, total = 0;
};
PixelTable examine_pixels(const Subject&);
Findings check_pixels(const Subject&, const PixelTable&);

}  // namespace mfl::data::doctor
