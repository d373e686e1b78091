// Any bytes are either an event file that `mfl_data info` shows, or a DataError.
#include "tests/fuzz/targets.h"

#include "data/info/describe.h"

namespace mfl::fuzz {

bool event_file(std::span<const std::byte> bytes) {
  const ScratchFile file(bytes, ".tfevents");
  return accepted([&] { require(!data::info::describe_events(file.path).empty()); });
}

}  // namespace mfl::fuzz
