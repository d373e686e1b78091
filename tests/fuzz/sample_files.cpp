// The small texts around sample folders. The first byte chooses: a list, dataset.json, or opencv_cameras.json with
// everything that a sample may say. Any bytes are read, or refused with a DataError.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "data/list_file.h"
#include "data/sample_folder.h"
#include "runtime/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mfl::data;
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    if (data[0] == 'l') {
      for (const ListEntry& e : parse_list(text, "fuzz"))
        if (e.entry.empty() || e.line < 1) std::abort();
    } else if (data[0] == 's') {
      (void)parse_set_file(text, "fuzz");
    } else {
      std::vector<RecordingInfo> recordings;
      const SampleFile f = parse_sample_file(text, "fuzz", recordings);
      if (f.images.size() != f.sample.views.size() || f.sample.recording >= static_cast<int>(recordings.size())) std::abort();
    }
  } catch (const mfl::DataError&) {
  }
  return 0;
}
