// Gaussians as an .spz file (Niantic's format, versions 2 and 3): one gzip member that holds, little-endian,
//
//   u4 magic "NGSP", u4 version, u4 N, u1 SH degree, u1 fractional bits F, u1 flags (1: trained with antialiasing), u1 0
//   positions [N, 3] 24-bit fixed point with F fractional bits     opacities [N] u1: 255 sigmoid
//   colours [N, 3] u1: 255 (0.15 f_dc + 0.5)                       scales [N, 3] u1: 16 (log scale + 10)
//   rotations [N, 3] u1 (version 2: x y z of the unit quaternion whose w is not negative, 127.5 q + 127.5)
//          or [N] u4 (version 3: from the top the place of the largest of x y z w, 2 bits, then the others in that order, a
//          sign bit and 9 bits of |q| sqrt(2) 511; the largest is positive)
//   SH [N, K - 1, 3] u1: 128 f + 128, coefficients in this order, colour innermost, in steps of 8 (degree 1) or 16 (above)
//
// Axes. The file's are right, up, back; those of a PLY are by convention right, down, front, and that is how the format's own
// converters take ours. So y and z turn their signs (half a turn round x): in positions, in the quaternion's y and z, and in
// every SH coefficient that is odd in them. A PLY made of the .spz by any converter is the PLY that we write.
//
// Source: nianticlabs/spz. F is the largest of at most 20 that holds the scene's extent; its writers always take 12, its readers
// honour any.
#pragma once

#include <filesystem>

#include "models/gslrm/gaussians.h"
#include "runtime/io/byte_source.h"

namespace mfl::gslrm {

struct SpzOptions {
  int version = 3;             // or 2, for older readers
  bool antialiased = false;    // the flag
  float scaling_modifier = 1;  // baked into the scales
};

// Host tensors, f32. Atomic; missing folders are made. Throws DataError, also for a value that is not finite and for positions
// beyond 2^23.
void write_spz(const std::filesystem::path&, const Gaussians&, const SpzOptions& = {});

// Host tensors, f32. What comes back of a Gaussian that was written: position to 2^-(F + 1), log scale within -10 .. 5.9375 to
// 1/32, f_dc within +-3.33 to 0.5 / 255 / 0.15, sigmoid(opacity) to 0.5 / 255, the rotation to an angle of 0.3 degrees (version
// 2: 1.7; near half a turn, where w is lost, 14), SH within +-1 to 4/128 (degree 1) or 8/128. Opacities 0 and 255 become logits
// of 1/1020 and its opposite. Throws DataError naming what is wrong: another version, extensions, a degree above 3, damage.
Gaussians read_spz(const io::Source&);
inline Gaussians read_spz(const std::filesystem::path& path) { return read_spz(io::open_file(path)); }

}  // namespace mfl::gslrm
