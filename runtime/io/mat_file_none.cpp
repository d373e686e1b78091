// The build without libmatio.
#include <cstring>

#include "runtime/io/mat_file.h"

namespace mfl::io {

bool is_mat_file(std::span<const std::byte> head) {
  constexpr std::string_view kText = "MATLAB 5.0 MAT-file";
  return head.size() >= kText.size() && std::memcmp(head.data(), kText.data(), kText.size()) == 0;
}
std::vector<NamedStored> read_matconvnet(const std::filesystem::path& path) {
  throw_error<DataError>(path.string(),
                         " is a MATLAB file, and this build has no libmatio to read it. Install libmatio-dev and "
                         "build again, or convert the file elsewhere: mfl_convert convert ",
                         path.filename().string(), " vgg19.safetensors");
}

}  // namespace mfl::io
