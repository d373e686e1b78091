// Any bytes are either a calibration of finite numbers, or a DataError.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "data/recording.h"
#include "runtime/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mfl::data;
  try {
    for (const RawCamera& c : parse_new_cam(std::as_bytes(std::span(data, size)), "fuzz")) {
      for (const auto* m : {&c.K, &c.R})
        for (double v : *m)
          if (!std::isfinite(v)) std::abort();
      try {
        check_raw_camera(c, "fuzz");
      } catch (const mfl::DataError&) {
      }
    }
  } catch (const mfl::DataError&) {
  }
  return 0;
}
