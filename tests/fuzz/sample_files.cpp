// The small texts around sample folders. The first byte chooses: l a list, else dataset.json. Any bytes are read, or refused with
// a DataError.
#include "tests/fuzz/targets.h"

#include "data/list_file.h"
#include "data/sample_json.h"

namespace mfl::fuzz {

bool sample_files(std::span<const std::byte> bytes) {
  using namespace data;
  return accepted([&] {
    if (bytes.empty()) throw_error<DataError>("nothing");
    const std::string_view text = text_of(bytes.subspan(1));
    if (bytes[0] == std::byte{'l'}) {
      for (const ListEntry& e : parse_list(text, "fuzz")) require(!e.entry.empty() && e.line >= 1);
    } else {
      (void)parse_set_file(text, "fuzz");
    }
  });
}

}  // namespace mfl::fuzz
