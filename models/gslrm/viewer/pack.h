// A scene of Gaussians in few bytes, as the page's shaders read it.
//
//   core     4 words   x 21 bits | y 21 bits | z 21 bits | 1 unused;  log scale 3 x 10 bits | 2 unused;
//                      rotation: place of the largest of w x y z in the two highest bits, the other three in order, 10
//                      bits each
//   colour   1 word    r g b opacity, 8 bits each, r lowest
//   rest     SH coefficients 1 .. K-1, [K-1, 3] signed bytes, zeros up to a multiple of 16 bytes; nothing at K = 1
//
// With q the integer:  position = low + q step;  log scale = low + q step;  rotation = (q - 511) / (511 sqrt 2), the
// largest is positive and follows from length 1;  base colour 0.5 + Y_0 f_0 = low + q step (at K = 1 bounded below by
// 0, where the renderer bounds it);  opacity = (q / 255)^2, finer where it is low;  coefficient = q / 127 times its
// degree's largest. Errors: 2^-22 of the scene's extent, 2^-11 of the range of log scales, 0.0014 in a quaternion,
// 1/510 of the range of colours.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "models/gslrm/gaussians.h"

namespace mfl::gslrm {

struct PackedGaussians {
  std::int64_t count = 0;
  int degree = 0;       // of the spherical harmonics
  int rest_stride = 0;  // bytes a Gaussian in `rest`: 0, 16, 32 or 48
  std::array<float, 3> position_low{}, position_step{};
  float scale_low = 0, scale_step = 0;
  float colour_low = 0, colour_step = 0;
  std::array<float, 3> rest_largest{};  // of degrees 1, 2, 3
  std::vector<std::uint32_t> core;      // [count, 4]
  std::vector<std::uint32_t> colour;    // [count]
  std::vector<std::int8_t> rest;        // [count, rest_stride]
};

// Host tensors, f32. Gaussians with a number that is not finite are left out: no renderer shows them. Log scales
// outside
// [-20, 10] are bounded.
PackedGaussians pack_gaussians(const Gaussians&, float scaling_modifier = 1);

}  // namespace mfl::gslrm
