// Gaussians as a .splat file, 32 bytes each, no header, little-endian:
//
//   position f4 x 3   scale f4 x 3 (not its logarithm)   r g b a u1   rotation w x y z u1
//
// a = 255 sigmoid(opacity), r g b = 255 (0.28209 f_dc + 0.5), both cut at 0 and 255; rotation = 128 q + 128 with q of length 1.
// All are rounded to nearest. Higher SH coefficients have no place in it. The order is that of importance, largest first, so
// that a viewer that still loads shows the most of a scene: the product of the scales times the opacity; of equal ones, the
// one that came first. Source: the format of antimatter15/splat, which has no specification but its converter.
#pragma once

#include <filesystem>

#include "models/gslrm/gaussians.h"
#include "runtime/io/byte_source.h"

namespace mfl::gslrm {

// Host tensors, f32. `scaling_modifier` is multiplied into the scales. Atomic; missing folders are made. Throws DataError, also
// for a value that is not finite.
void write_splat(const std::filesystem::path&, const Gaussians&, float scaling_modifier = 1);

// Host tensors, f32, SH degree 0. What comes back of a Gaussian that was written: position and scale to 1e-6 of themselves,
// colours (f_dc, where they lie in the range) to 0.5 / 255 / 0.28209, sigmoid(opacity) to 0.5 / 255, the rotation to an angle of
// 1.2 degrees. Opacities 0 and 255 become logits of 1/1020 and its opposite, so that they stay finite. Throws DataError: a PLY
// file, a size that is no multiple of 32, a scale that is not positive and finite, a rotation of length 0.
Gaussians read_splat(const io::Source&);
inline Gaussians read_splat(const std::filesystem::path& path) { return read_splat(io::open_file(path)); }

}  // namespace mfl::gslrm
