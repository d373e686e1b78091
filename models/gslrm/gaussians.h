// A set of 3D Gaussians, before activation, and the cameras that look at it.
#pragma once

#include "runtime/tensor.h"

namespace mfl::gslrm {

// N Gaussians of one scene. f32 (f64 where gradients are checked). Activations happen in the projection:
// scale = exp(scaling) * scaling_modifier, rotation normalised (w, x, y, z), opacity = sigmoid, colour = max(0, SH + 0.5).
struct Gaussians {
  Tensor xyz;       // [N, 3]     world units
  Tensor features;  // [N, K, 3]  SH coefficients, K = (degree + 1)^2
  Tensor scaling;   // [N, 3]     log scale
  Tensor rotation;  // [N, 4]     quaternion w, x, y, z, any length but 0
  Tensor opacity;   // [N, 1]     logit
};

// V pinhole cameras, OpenCV axes (x right, y down, z forward).
struct Cameras {
  Tensor c2w;       // [V, 4, 4]  row-major camera-to-world
  Tensor fxfycxcy;  // [V, 4]     pixels; the centre of pixel (0, 0) is at (0.5, 0.5)
  int height = 0, width = 0;
};

}  // namespace mfl::gslrm
