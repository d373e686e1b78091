// Gaussians as a PLY file, as 3D Gaussian viewers read it: binary little-endian, one element `vertex`, values before
// activation (opacity a logit, scale a log-scale, quaternion w x y z as it is).
//
//   x y z (f4)  red green blue (u1)  f_dc_0..2  f_rest_0..R-1  opacity  scale_0..2  rot_0..3 (f4)
//
// f_rest is channel-major: coefficient k >= 1 of channel c is f_rest[c * R/3 + k - 1]. With `viewer`, R is always 45,
// which is what degree-3 viewers expect, and lower degrees leave the higher coefficients 0. Source:
// GaussianModel.save_ply and load_ply, gslrm/model/gaussians_renderer.py. Deviation: there, degrees 1 and 2 are padded
// behind the last coefficient, which shifts the channels in a viewer, and such files cannot be read back.
//
// Layout `inria` is that of the original 3D Gaussian Splatting code, which most viewers and converters take as theirs: the
// same values, without colours and with normals, which are 0:
//   x y z nx ny nz  f_dc_0..2  f_rest_0..R-1  opacity  scale_0..2  rot_0..3 (f4)
#pragma once

#include <filesystem>

#include "models/gslrm/gaussians.h"
#include "runtime/io/byte_source.h"

namespace mfl::gslrm {

enum class PlyLayout { published, inria };

struct PlyOptions {
  bool viewer = true;          // 45 f_rest whatever the degree; else as many as the degree has
  float scaling_modifier = 1;  // baked into the scales: log(exp(s) * modifier)
  PlyLayout layout = PlyLayout::published;
};

// Host tensors, f32. Atomic; missing folders are made. Throws DataError.
void write_ply(const std::filesystem::path&, const Gaussians&, const PlyOptions& = {});

// Host tensors, f32. Properties in any order and of any numeric type; colours and unknown properties are passed over.
// The degree is the smallest that holds all non-zero f_rest. Throws DataError naming the path and what is wrong.
Gaussians read_ply(const io::Source&);
inline Gaussians read_ply(const std::filesystem::path& path) { return read_ply(io::open_file(path)); }

}  // namespace mfl::gslrm
