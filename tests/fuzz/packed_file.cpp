// Any bytes are either a packed file whose cameras and views can be asked for, or a DataError. The HDF5 library is not
// instrumented.
#include "tests/fuzz/targets.h"

#include <algorithm>

#include "data/hdf5_file.h"

namespace mfl::fuzz {

bool packed_file(std::span<const std::byte> bytes) {
  using namespace data;
  const ScratchFile file(bytes, ".h5");
  return accepted([&] {
    const ViewReader r(file.path);
    for (std::int64_t s = 0; s < std::min<std::int64_t>(r.size(), 4); ++s)
      for (int v = 0; v < std::min(r.views(s), 4); ++v) {
        (void)r.role(s, v), (void)r.stats(s, v), (void)r.raw_camera(s, v);
        require(r.read(s, v).pixels.size() == std::size_t{4} * r.width(s) * r.height(s));
        (void)r.read_low(s, v);
      }
  });
}

}  // namespace mfl::fuzz
