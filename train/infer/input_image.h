// An image file as the network is given it: square, of the network's size, 8 bits, on a plain background.
#pragma once

#include <array>
#include <filesystem>
#include <string>

#include "data/image.h"
#include "runtime/tensor.h"

namespace mfl::infer {

struct InputImage {
  Tensor pixels;        // [S, S, 3] u8
  std::string sha256;   // of the file's bytes, hex; empty where there is no file
  bool had_alpha = false;
  std::string decisions = "{}";   // JSON object: what was done to the picture
};

// RGBA is pasted on the background; without alpha the image's own background stays, and a warning says so. What is not
// square is padded with the background, then resized (Lanczos). Throws DataError: no image, damaged, an alpha of nothing.
InputImage read_input_image(const std::filesystem::path&, std::int64_t side, const std::array<double, 3>& background);
// The same of a picture in memory; `where` appears in messages.
InputImage prepare_input_image(data::Image, const std::string& where, std::int64_t side, const std::array<double, 3>& background);

}  // namespace mfl::infer
