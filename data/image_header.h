// What an image file claims about itself, read before a library gets its bytes.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace mfl::data {

// Throws DataError naming `source` unless the bytes are a PNG or a JPEG that is complete, has 1 to 16384 pixels a side, and
// has enough bytes for that many pixels (deflate and JPEG cannot shrink more than about 1032 and 6144 times).
void check_image_bytes(std::span<const std::uint8_t> bytes, const std::string& source);

}  // namespace mfl::data
