// Any bytes are either a scene or a DataError. What does not begin as gzip is taken for what a gzip member holds, so that a fuzzer
// need not guess checksums.
#include "models/gslrm/spz.h"

#include "runtime/io/gzip.h"
#include "tests/fuzz/targets.h"

namespace mfl::fuzz {

bool spz(std::span<const std::byte> bytes) {
  const bool packed = bytes.size() > 1 && bytes[0] == std::byte{0x1f} && bytes[1] == std::byte{0x8b};
  return accepted([&] { gslrm::read_spz(io::memory_source(packed ? std::vector<std::byte>{bytes.begin(), bytes.end()} : io::gzip(bytes), "fuzz")); });
}

}  // namespace mfl::fuzz
