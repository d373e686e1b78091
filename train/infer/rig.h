// Cameras that the second stage is given: host tensors, f32, for square images of side S.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "data/camera.h"
#include "models/gslrm/gaussians.h"

namespace mfl::infer {

// FaceLift's rig, which its six generated views are views of: distance 2.7, elevation 0, world Z up, OpenCV axes, focal length
// 548.9937744140625 pixels of 512, principal point in the middle. The camera of a prompt slot stands at azimuth -90 degrees
// less the slot's own (models/mvdiffusion/prompts.h): front at -y, front_right at -135, right at 180, back at +y, left at
// 0, front_left at -45. Source: utils_folder/opencv_cameras.json in the order 2, 1, 0, 5, 4, 3. Deviation: inference_mouse.py
// takes another ring (Y up, every 60 degrees, cameras that look away from the animal), for which the model was not trained.
gslrm::Cameras canonical_cameras(std::span<const int> slots, int side);

// Cameras of images, as GS-LRM's training sees them: scaled to the side, then normalised together as the configuration's
// `mouse` section says (nothing: as they are).
struct SizedCamera {
  data::Camera camera;
  int width = 0, height = 0;   // of its image
};
gslrm::Cameras posed_cameras(const std::vector<SizedCamera>&, const std::optional<data::CameraNormalisation>&,
                             const std::optional<data::Vec3>& up, int side);

// Cameras [first, first + count), the same memory.
gslrm::Cameras part(const gslrm::Cameras&, std::int64_t first, std::int64_t count);

}  // namespace mfl::infer
