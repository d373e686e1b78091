// How far is each pixel from the border, in colour? The minimum barrier distance: the smallest, over all paths from the border, of
// the largest minus the smallest value on the path. Wall and floor reach the border at nearly no cost however they shade; an
// animal that stands before them does not.
// Source: Zhang et al., Minimum Barrier Salient Object Detection at 80 FPS, ICCV 2015 (the raster-scan approximation).
#pragma once

#include <cstdint>
#include <vector>

namespace mfl::data::photo {

// `values` [height, width]; `seeds` of the same size, non-zero where the distance is 0.
std::vector<float> barrier_distance(const std::vector<float>& values, const std::vector<std::uint8_t>& seeds, int width, int height);

}  // namespace mfl::data::photo
