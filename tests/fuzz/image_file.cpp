// Any bytes are either a complete image with all of its pixels, or a DataError. OpenCV and libpng are not instrumented: what
// they read or write outside of their buffers shows only at the allocations that the sanitizer owns.
#include "tests/fuzz/targets.h"

#include "data/image_file.h"

namespace mfl::fuzz {

bool image_file(std::span<const std::byte> bytes) {
  return accepted([&] {
    std::vector<std::uint8_t> low;
    const auto* first = reinterpret_cast<const std::uint8_t*>(bytes.data());
    const data::Image im = data::decode_image({first, bytes.size()}, "fuzz", &low);
    const std::size_t pixels = static_cast<std::size_t>(im.width) * im.height * im.channels;
    require(im.pixels.size() == pixels && (low.empty() || low.size() == pixels));
  });
}

}  // namespace mfl::fuzz
