// Files of torch.save: the zip form, and the form before PyTorch 1.6 (a sequence of pickles and raw storages).
#pragma once

#include <filesystem>

#include "runtime/io/byte_source.h"
#include "runtime/io/value.h"

namespace mfl::io {

// The tree of the file; tensors stay in the file until they are read (see stored_tensor.h), with their offsets, strides
// and shared storages. Throws DataError.
Value read_torch_file(const std::filesystem::path&);
Value read_torch_file(Source);
bool is_torch_file(std::span<const std::byte> head);

// A file that torch.load(weights_only=True) reads: streamed, read back and CRC-checked, then renamed into place.
// Tensors that share a storage share it in the file too. The same tree gives the same bytes. `from_disk`: the system is asked to
// forget the written pages first, so that it is the disk that is read back.
void write_torch_file(const std::filesystem::path&, const Value&, bool from_disk = false);

}  // namespace mfl::io
