// Built where OpenCV is not: training reads packed files and needs none.
#include "data/video_reader.h"

namespace mfl::data {

struct VideoReader::Impl {
  std::string path;
};

VideoReader::VideoReader(const std::string& path) {
  throw_error<DataError>(path, ": this build reads no videos. Install libopencv-dev and build with -DMFL_OPENCV=ON");
}
VideoReader::~VideoReader() = default;
VideoReader::VideoReader(VideoReader&&) noexcept = default;
VideoReader& VideoReader::operator=(VideoReader&&) noexcept = default;
const std::string& VideoReader::path() const { return impl_->path; }
int VideoReader::width() const { return 0; }
int VideoReader::height() const { return 0; }
double VideoReader::frames_per_second() const { return 0; }
std::int64_t VideoReader::frames() const { return 0; }
std::int64_t VideoReader::position() const { return 0; }
void VideoReader::read(Image&) {}
void VideoReader::read_grey(Image&) {}
void VideoReader::skip() {}

}  // namespace mfl::data
