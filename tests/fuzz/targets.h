// What the fuzzers and the replay test feed with bytes: each reads the whole of what it is given, tensors included. A
// DataError is the right answer to damage; anything else that leaves a target is a bug.
#pragma once

#include <cstddef>
#include <span>

namespace mfl::fuzz {

// Each returns true if the bytes were accepted.
bool safetensors(std::span<const std::byte>);
bool torch_file(std::span<const std::byte>);
bool pickle(std::span<const std::byte>);

}  // namespace mfl::fuzz
