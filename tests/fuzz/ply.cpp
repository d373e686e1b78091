// Any bytes are either a scene or a DataError. Nothing else may happen.
#include "models/gslrm/ply.h"

#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  try {
    mfl::gslrm::read_ply(mfl::io::memory_source({bytes, bytes + size}, "fuzz"));
  } catch (const mfl::DataError&) {
  }
  return 0;
}
