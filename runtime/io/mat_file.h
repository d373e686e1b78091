// Networks in MatConvNet's form: a MATLAB 5 file with a cell array `layers`, each a struct whose `weights` holds
// {kernel [h, w, in, out], bias} in Fortran order (older files: `filters` and `biases`).
//
// Source: MathWorks, MAT-File Format, version 5: little-endian elements of a tag (type, bytes) and data; arrays are elements of
// elements; variables may be deflated. Only what leads to the weights is visited, so that nesting costs no stack.
// libmatio was used before: it follows null pointers in damaged files (found within a second of fuzzing).
#pragma once

#include <span>
#include <vector>

#include "runtime/io/byte_source.h"
#include "runtime/io/stored_tensor.h"

namespace mfl::io {

bool is_mat_file(std::span<const std::byte> head);
// "layers.<i>.weight" [out, in, h, w] (strided over the file's order) and "layers.<i>.bias" [out], i from 0, for the
// layers that have weights. An unpacked variable stays in the file, a packed one is unpacked into memory. Throws DataError.
std::vector<NamedStored> read_matconvnet(const Source&);

}  // namespace mfl::io
