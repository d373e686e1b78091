// The lens of a photo, where it is known (framing.h), and its distortion.
#pragma once

#include "data/photo/framing.h"

namespace mfl::data::photo {

bool is_distorted(const Lens&);
// OpenCV's model on normalised coordinates of the undistorted photo, r2 = x^2 + y^2:
//   x' = x (1 + k1 r2 + k2 r2^2 + k3 r2^3) + 2 p1 x y + p2 (r2 + 2 x^2),  y' likewise with p1 (r2 + 2 y^2) + 2 p2 x y
std::array<double, 2> distorted(const Lens&, double x, double y);
// The photo of the same K without distortion; bilinear on premultiplied pixels, transparent where the photo has nothing.
Image undistorted(const Image& rgba, const Lens&);

}  // namespace mfl::data::photo
