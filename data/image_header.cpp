#include "data/image_header.h"

#include <algorithm>
#include <cstring>

#include "runtime/error.h"

namespace mfl::data {
namespace {

using Bytes = std::span<const std::uint8_t>;
constexpr std::uint64_t kMaxSide = 16384;

std::uint64_t big_endian(Bytes b, std::size_t at, int count) {
  std::uint64_t v = 0;
  for (int i = 0; i < count; ++i) v = v << 8 | b[at + i];
  return v;
}

void check_size(std::uint64_t width, std::uint64_t height, std::uint64_t raw_bytes, std::uint64_t shrink, Bytes b, const std::string& source) {
  if (width < 1 || height < 1 || width > kMaxSide || height > kMaxSide)
    throw_error<DataError>(source, ": the image claims ", width, " x ", height, " pixels; from 1 to ", kMaxSide, " a side are supported");
  if (raw_bytes / shrink > b.size())
    throw_error<DataError>(source, ": the image claims ", width, " x ", height, " pixels, more than its ", b.size(),
                           " bytes can hold; it is damaged. Copy or make it again");
}

[[noreturn]] void cut_short(const std::string& source) {
  throw_error<DataError>(source, ": the image ends early; it is cut short or damaged. Copy or make it again");
}

// Chunks: length, type, data, CRC; IHDR first, IEND last.
void check_png(Bytes b, const std::string& source) {
  if (b.size() < 33 || big_endian(b, 8, 4) != 13 || std::memcmp(&b[12], "IHDR", 4) != 0) cut_short(source);
  const std::uint64_t width = big_endian(b, 16, 4), height = big_endian(b, 20, 4), depth = b[24];
  static constexpr int kChannels[7] = {1, 0, 3, 1, 2, 0, 4};   // by colour type
  const int channels = b[25] < 7 ? kChannels[b[25]] : 0;
  if (channels == 0 || (depth != 1 && depth != 2 && depth != 4 && depth != 8 && depth != 16))
    throw_error<DataError>(source, ": the PNG has colour type ", int{b[25]}, " with ", depth, " bits, which does not exist; it is damaged");
  check_size(width, height, width * height * static_cast<std::uint64_t>(channels) * depth / 8, 1032, b, source);
  for (std::size_t at = 8;;) {
    if (b.size() - at < 12) cut_short(source);
    const std::uint64_t length = big_endian(b, at, 4);
    if (length > b.size() - at - 12) cut_short(source);
    if (std::memcmp(&b[at + 4], "IEND", 4) == 0) return;
    at += 12 + static_cast<std::size_t>(length);
  }
}

// Segments up to the start of the scan; then entropy-coded data, in which FF D9 can only be the end.
void check_jpeg(Bytes b, const std::string& source) {
  bool sized = false;
  for (std::size_t at = 2;;) {
    if (b.size() - at < 4) cut_short(source);
    if (b[at] != 0xff) throw_error<DataError>(source, ": the JPEG is damaged: no marker at byte ", at);
    const int marker = b[at + 1];
    if (marker == 0xff) {   // fill byte
      ++at;
      continue;
    }
    const std::size_t length = big_endian(b, at + 2, 2);
    if (length < 2 || length > b.size() - at - 2) cut_short(source);
    if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc) {
      if (length < 8) cut_short(source);
      const std::uint64_t height = big_endian(b, at + 5, 2), width = big_endian(b, at + 7, 2);
      check_size(width, height, width * height * b[at + 9], 6144, b, source);
      sized = true;
    }
    at += 2 + length;
    if (marker != 0xda) continue;
    if (!sized) throw_error<DataError>(source, ": the JPEG is damaged: no frame before its scan");
    static constexpr std::uint8_t kEnd[2] = {0xff, 0xd9};
    if (std::search(b.begin() + static_cast<std::ptrdiff_t>(at), b.end(), std::begin(kEnd), std::end(kEnd)) == b.end()) cut_short(source);
    return;
  }
}

}  // namespace

void check_image_bytes(Bytes b, const std::string& source) {
  static constexpr std::uint8_t kPng[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  if (b.size() >= 8 && std::equal(std::begin(kPng), std::end(kPng), b.begin())) return check_png(b, source);
  if (b.size() >= 3 && b[0] == 0xff && b[1] == 0xd8 && b[2] == 0xff) return check_jpeg(b, source);
  throw_error<DataError>(source, ": the image is neither PNG nor JPEG, or its first bytes are damaged");
}

}  // namespace mfl::data
