// Any bytes are either a packed file whose cameras and views can be asked for, or a DataError. The HDF5 library is not
// instrumented.
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "data/hdf5_file.h"
#include "runtime/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mfl::data;
  static const std::string path = "/dev/shm/mfl_fuzz_" + std::to_string(getpid()) + ".h5";
  std::FILE* f = std::fopen(path.c_str(), "wb");
  if (!f || std::fwrite(data, 1, size, f) != size || std::fclose(f) != 0) std::abort();
  try {
    const ViewReader r(path);
    for (std::int64_t s = 0; s < std::min<std::int64_t>(r.size(), 4); ++s)
      for (int v = 0; v < std::min(r.views(s), 4); ++v) {
        (void)r.role(s, v), (void)r.stats(s, v), (void)r.raw_camera(s, v);
        if (r.read(s, v).pixels.size() != std::size_t{4} * r.width(s) * r.height(s)) std::abort();
        (void)r.read_low(s, v);
      }
  } catch (const mfl::DataError&) {
  }
  return 0;
}
