// A photo as a person has it: upright, 8 bits, grey made colour.
// photo.cpp uses OpenCV; photo_none.cpp is built without it and says so when called.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "data/image.h"

namespace mfl::data::photo {

struct Photo {
  Image image;          // 3 channels, or 4 where the file has an alpha
  std::string sha256;   // of the file's bytes, hex
  bool turned = false;  // the file's orientation tag (EXIF) was followed: `image` is what a viewer shows
  int channels = 0, bits = 0;  // of the file: 1, 3 or 4; 8 or 16
};

// PNG (8 and 16 bit: the high bytes) or JPEG. Throws DataError: none there, damaged, not a picture.
Photo read_photo(const std::string& path);
Photo decode_photo(std::span<const std::uint8_t> bytes, const std::string& source);

}  // namespace mfl::data::photo
