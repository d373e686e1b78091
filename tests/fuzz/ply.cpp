// Any bytes are either a scene or a DataError.
#include "tests/fuzz/targets.h"

#include "models/gslrm/ply.h"

namespace mfl::fuzz {

bool ply(std::span<const std::byte> bytes) {
  return accepted([&] { gslrm::read_ply(io::memory_source({bytes.begin(), bytes.end()}, "fuzz")); });
}

}  // namespace mfl::fuzz
