// Any bytes are either a complete image with all of its pixels, or a DataError. OpenCV and libpng are not instrumented: what
// they read or write outside of their buffers shows only at the allocations that the sanitizer owns.
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "data/image_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::uint8_t> low;
  try {
    const mfl::data::Image im = mfl::data::decode_image({data, size}, "fuzz", &low);
    const std::size_t pixels = static_cast<std::size_t>(im.width) * im.height * im.channels;
    if (im.pixels.size() != pixels || (!low.empty() && low.size() != pixels)) std::abort();
  } catch (const mfl::DataError&) {
  }
  return 0;
}
