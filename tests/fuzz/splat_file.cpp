// Any bytes are either a scene or a DataError.
#include "models/gslrm/splat_file.h"

#include "tests/fuzz/targets.h"

namespace mfl::fuzz {

bool splat_file(std::span<const std::byte> bytes) {
  return accepted([&] { gslrm::read_splat(io::memory_source({bytes.begin(), bytes.end()}, "fuzz")); });
}

}  // namespace mfl::fuzz
