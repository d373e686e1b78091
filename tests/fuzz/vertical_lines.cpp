// Any bytes are either the up direction of vertical_lines.npz, or a DataError.
#include "tests/fuzz/targets.h"

#include "data/vertical_lines.h"

namespace mfl::fuzz {

bool vertical_lines(std::span<const std::byte> bytes) {
  const ScratchFile file(bytes, ".npz");
  return accepted([&] { (void)data::read_up_direction(file.path); });
}

}  // namespace mfl::fuzz
