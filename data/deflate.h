// The two filters of a packed view: deflate (zlib format) and HDF5's Fletcher-32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace mfl::data {

std::vector<std::uint8_t> deflate_zlib(std::span<const std::uint8_t> bytes, int level);
// False when the stream is damaged or does not hold exactly `out.size()` bytes.
bool inflate_zlib(std::span<const std::uint8_t> bytes, std::span<std::uint8_t> out);
// Fletcher-32 as the HDF5 filter of that name computes it: over big-endian 16-bit words, an odd last byte as the high one.
std::uint32_t fletcher32(std::span<const std::uint8_t> bytes);

}  // namespace mfl::data
