// Python pickles: protocols 0 to 5, a closed list of opcodes and constructors; anything else is refused by name, so
// that a pickle can never run code here. The list is in pickle.cpp: plain containers and numbers, OrderedDict, NumPy
// arrays and scalars, and, where `PersistentLoad` is given, torch tensors.
//
// NumPy arrays become tensors; Fortran order and big-endian bytes are honoured. Nothing recurses on untrusted input,
// cycles are refused, nesting is limited, and memory stays in proportion to the bytes read.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "runtime/io/value.h"

namespace mfl::io {

// A torch storage named by a pickle: ("storage", type, key, location, numel[, view]). A view is folded into the offset
// of the tensors on it.
struct StorageId {
  StoredType type;
  std::string key;
  std::int64_t numel;
};
using PersistentLoad = std::function<std::shared_ptr<const Storage>(const StorageId&)>;

struct Unpickled {
  Value value;
  std::size_t bytes;  // read up to and including STOP
};
// `what` begins messages. Throws DataError.
Unpickled unpickle(std::span<const std::byte>, std::string_view what, const PersistentLoad& = {});
// A pickle file without torch tensors.
Value read_pickle_file(const std::filesystem::path&);

// Protocol 2. `key_of` gives a tensor's storage its key in the file. torch.load(weights_only=True) accepts the result.
std::vector<std::byte> pickle(const Value&, const std::function<std::string(const StoredTensor&)>& key_of);
// Protocol 3, tensors as NumPy arrays in C order; for Python's pickle with NumPy 1 or 2.
std::vector<std::byte> pickle_arrays(const Value&);

}  // namespace mfl::io
