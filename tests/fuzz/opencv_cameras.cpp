// Any bytes are either cameras that pass every check, or a DataError. Nothing else may happen.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "data/camera.h"
#include "runtime/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mfl::data;
  try {
    for (const CameraFrame& f : parse_camera_file({reinterpret_cast<const char*>(data), size}, "fuzz").frames) {
      check_camera(f.camera, "fuzz");
      for (double v : inverse(f.camera.w2c))
        if (!std::isfinite(v)) std::abort();
    }
  } catch (const mfl::DataError&) {
  }
  return 0;
}
