// Networks in MatConvNet's form: a MATLAB 5 file with a cell array `layers`, each a struct whose `weights` holds
// {kernel [h, w, in, out], bias} in Fortran order (older files: `filters` and `biases`).
#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include "runtime/io/stored_tensor.h"

namespace mfl::io {

bool is_mat_file(std::span<const std::byte> head);
// "layers.<i>.weight" [out, in, h, w] (strided over the file's order) and "layers.<i>.bias" [out], i from 0, for the
// layers that have weights. The whole file is read. Throws DataError; also where the build has no libmatio.
std::vector<NamedStored> read_matconvnet(const std::filesystem::path&);

}  // namespace mfl::io
