// Any bytes are either a video of which every promised frame can be read, or a DataError. FFmpeg is not instrumented.
#include "tests/fuzz/targets.h"

#include <algorithm>

#include "data/video_reader.h"

namespace mfl::fuzz {

bool video(std::span<const std::byte> bytes) {
  const ScratchFile file(bytes, ".mp4");
  return accepted([&] {
    data::VideoReader in(file.path);
    data::Image image;
    for (std::int64_t i = std::min<std::int64_t>(in.frames(), 64); i-- > 0;) in.read(image);
  });
}

}  // namespace mfl::fuzz
