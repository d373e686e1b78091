// Any bytes are either a configuration or a ConfigError.
#include "tests/fuzz/targets.h"

#include "train/config.h"

namespace mfl::fuzz {

bool gslrm_config(std::span<const std::byte> bytes) {
  return accepted<ConfigError>([&] { parse_gslrm_config(std::string(text_of(bytes)), "fuzz"); });
}

}  // namespace mfl::fuzz
