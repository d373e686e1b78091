// Resampling through a homography, right for pictures that get smaller.
#pragma once

#include "data/camera.h"
#include "data/preprocess/mask.h"

namespace mfl::data::preprocess {

// RGBA of size x size, straight alpha: the colour image seen through `h` (raw pixel to new pixel, both with (0, 0) at
// the corner of the first pixel), opaque where the mask is.
//
// Each new pixel is the mean over its own area of the bilinearly interpolated, premultiplied source: a grid of samples,
// at most half a source pixel apart, at least 2 x 2. So alpha is the covered share of the pixel, the colour is the mean
// of the animal alone, and no background bleeds into the outline. RGB is 0 where alpha is 0. Values are averaged as
// they are stored (sRGB), as image libraries do.
Image warp_masked(const Image& rgb, const Mask& mask, const Mat3& h, int size);
// The same of a cut-out picture whose alpha is soft.
Image warp_rgba(const Image& rgba, const Mat3& h, int size);

}  // namespace mfl::data::preprocess
