// Any bytes are either a calibration of finite numbers, or a DataError.
#include "tests/fuzz/targets.h"

#include <cmath>

#include "data/recording.h"

namespace mfl::fuzz {

bool new_cam(std::span<const std::byte> bytes) {
  using namespace data;
  return accepted([&] {
    for (const RawCamera& c : parse_new_cam(bytes, "fuzz")) {
      for (const auto* m : {&c.K, &c.R})
        for (double v : *m) require(std::isfinite(v));
      accepted([&] { check_raw_camera(c, "fuzz"); });
    }
  });
}

}  // namespace mfl::fuzz
