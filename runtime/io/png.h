// PNG files without an image library: 8-bit, 1 (grey), 3 (RGB) or 4 (RGBA) channels, and animations (APNG: a PNG file
// of several frames, which browsers play and every other viewer shows the first frame of).   Source: PNG third edition.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace mfl::io {

struct PngSize {
  int width = 0, height = 0, channels = 3;
};

// pixels: [height, width, channels], row-major. The same pixels give the same bytes.
std::string encode_png(PngSize, const std::uint8_t* pixels);
// Every frame has the given size; repeats for ever.
std::string encode_apng(PngSize, std::span<const std::uint8_t* const> frames, int frames_per_second);

// Atomic. Throws DataError.
void write_png(const std::filesystem::path&, PngSize, const std::uint8_t* pixels);

}  // namespace mfl::io
