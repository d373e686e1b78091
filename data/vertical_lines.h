// vertical_lines.npz, which the mouse data set looks for beside its sample folders: the rig's measured up direction.
#pragma once

#include <optional>
#include <string>

#include "data/camera.h"

namespace mfl::data {

// The array `up_direction` (3 values, f32 or f64) of the numpy archive, as it is there; nothing when the file does not
// exist. Throws DataError when it exists and cannot be used.
std::optional<Vec3> read_up_direction(const std::string& path);

}  // namespace mfl::data
