// Any bytes are either a configuration or a ConfigError. Nothing else may happen.
#include <cstdint>
#include <string>

#include "train/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    mfl::parse_gslrm_config({reinterpret_cast<const char*>(data), size}, "fuzz");
  } catch (const mfl::ConfigError&) {
  }
  return 0;
}
