// In a build without OpenCV.
#include "data/photo/photo.h"

namespace mfl::data::photo {

Photo decode_photo(std::span<const std::uint8_t>, const std::string& source) {
  throw_error<DataError>(source, ": this build has no OpenCV and cannot read photos. Build with -DMFL_OPENCV=ON");
}
Photo read_photo(const std::string& path) { return decode_photo({}, path); }

}  // namespace mfl::data::photo
