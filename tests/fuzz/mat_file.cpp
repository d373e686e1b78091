// Any bytes are either a MatConvNet network, all of whose numbers can be read, or a DataError.
#include "runtime/io/mat_file.h"

#include "tests/fuzz/targets.h"

namespace mfl::fuzz {

bool mat_file(std::span<const std::byte> bytes) {
  return accepted([&] {
    for (const io::NamedStored& t : io::read_matconvnet(io::memory_source({bytes.begin(), bytes.end()}, "fuzz"))) io::load(t.tensor, t.name);
  });
}

}  // namespace mfl::fuzz
