// Any bytes are either a video of which every promised frame can be read, or a DataError. FFmpeg is not instrumented.
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "data/video_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string path = "/dev/shm/mfl_fuzz_" + std::to_string(getpid()) + ".mp4";
  std::FILE* f = std::fopen(path.c_str(), "wb");
  if (!f || std::fwrite(data, 1, size, f) != size || std::fclose(f) != 0) std::abort();
  try {
    mfl::data::VideoReader in(path);
    mfl::data::Image image;
    for (std::int64_t i = std::min<std::int64_t>(in.frames(), 64); i-- > 0;) in.read(image);
  } catch (const mfl::DataError&) {
  }
  return 0;
}
