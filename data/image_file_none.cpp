// Built where OpenCV is not: training reads packed files and needs none.
#include "data/image_file.h"

namespace mfl::data {
namespace {
[[noreturn]] void none(const std::string& path) {
  throw_error<DataError>(path, ": this build has no image and video files. Install libopencv-dev and build with -DMFL_OPENCV=ON");
}
}  // namespace

bool have_image_files() { return false; }
Image read_image(const std::string& path, std::vector<std::uint8_t>*) { none(path); }
Image decode_image(std::span<const std::uint8_t>, const std::string& source, std::vector<std::uint8_t>*) { none(source); }
void write_png(const std::string& path, const Image&, std::span<const std::uint8_t>) { none(path); }
void write_jpeg(const std::string& path, const Image&, int) { none(path); }
void write_png16(const std::string& path, const Image&) { none(path); }

struct VideoWriter::Impl {
  std::string codec;
};
VideoWriter::VideoWriter(const std::string& path, int, int, double) { none(path); }
VideoWriter::~VideoWriter() = default;
void VideoWriter::add(const Image&) {}
void VideoWriter::close() {}
const std::string& VideoWriter::codec() const { return impl_->codec; }

}  // namespace mfl::data
