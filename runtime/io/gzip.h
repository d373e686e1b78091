// One gzip member in memory (RFC 1952), as .spz files are.
#pragma once

#include "runtime/io/byte_source.h"

namespace mfl::io {

std::vector<std::byte> gzip(std::span<const std::byte>);

// The whole of a file that is one member, below 4 GiB unpacked. Throws DataError: not gzip, truncated, a wrong checksum, bytes
// after the member, or a length that no deflate stream of this size can have.
std::vector<std::byte> gunzip(const ByteSource&);

}  // namespace mfl::io
