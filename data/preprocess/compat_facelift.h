// What the published preprocessing of FaceLift for mice writes (its script process_mouse_data.py), and what is wrong
// with it. Only for comparison with data sets that were made that way.
//
// The script crops the middle square, halves it, and declares FaceLift's intrinsics for the result: focal length 549
// where the pixels have about 1.45 times that, a principal point in the middle where it is not, no skew. It scales the
// cameras' translations so that their mean distance from the recording's own origin, not from the animal, is 2.7,
// arguing that a scaled world has scaled focal lengths. It has not: a similarity of the world leaves every image as it
// is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/recording.h"

namespace mfl::data::preprocess {

// Frames: without the first and last 5 % (rounded down), num_samples spread evenly, rounded down.
std::vector<std::int64_t> compat_frames(std::int64_t frames, std::int64_t num_samples);
// Homography of crop and resize, corner convention. True for the pixels.
Mat3 compat_warp(const RawCamera&, int image_size);
// As declared: R | T * 2.7 / mean distance, f = size / 2 / tan 25 degrees, c = size / 2. False for the pixels.
Camera compat_camera(const RawCamera&, double mean_distance, int image_size);
double compat_mean_distance(const std::vector<RawCamera>&);  // of the cameras from the recording's origin

struct CompatError {
  double fx = 0, fy = 0, cx = 0, cy = 0;  // what the pixels have, in the script's own pixel convention
  double focal_ratio = 0;                 // declared over true, mean of x and y
  double principal_error = 0;             // pixels between the declared and the true principal point
  double ray_error_degrees = 0;           // of the ray through the image centre: atan |((c - c') / f)|
};
CompatError compat_error(const RawCamera&, int image_size);
// A table of the errors and one sentence on each.
std::string compat_report(const std::vector<RawCamera>&, int image_size);

}  // namespace mfl::data::preprocess
