#include "data/video_reader.h"

#include <filesystem>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>

namespace mfl::data {

struct VideoReader::Impl {
  std::string path;
  cv::VideoCapture in;
  cv::Mat frame;  // BGR
  int width = 0, height = 0;
  double rate = 0;
  std::int64_t frames = 0, position = 0;

  void grab() {
    if (position == frames) throw_error<DataError>(path, ": all ", frames, " frames have been read");
    bool there = false;
    try {
      there = in.grab();
    } catch (const cv::Exception&) {
    }
    if (!there)
      throw_error<DataError>(path, ": the video ends at frame ", position, ", but its header promises ", frames,
                             " frames; it is damaged or was cut off. Copy it again");
    ++position;
  }
  const cv::Mat& decode() {
    grab();
    if (!in.retrieve(frame) || frame.cols != width || frame.rows != height || frame.type() != CV_8UC3)
      throw_error<DataError>(path, ": frame ", position - 1, " cannot be decoded to ", width, " x ", height,
                             " with 3 channels");
    return frame;
  }
};

VideoReader::VideoReader(const std::string& path) : impl_(new Impl) {
  impl_->path = path;
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) throw_error<DataError>(path, ": the video does not exist");
  bool open = false;
  try {
    open = impl_->in.open(path, cv::CAP_FFMPEG);
  } catch (const cv::Exception&) {
  }
  if (!open)
    throw_error<DataError>(path, ": cannot be opened as a video; it is damaged, incomplete, or of an unknown kind");
  impl_->in.set(cv::CAP_PROP_ORIENTATION_AUTO, 0);
  impl_->width = static_cast<int>(impl_->in.get(cv::CAP_PROP_FRAME_WIDTH));
  impl_->height = static_cast<int>(impl_->in.get(cv::CAP_PROP_FRAME_HEIGHT));
  impl_->rate = impl_->in.get(cv::CAP_PROP_FPS);
  const double frames = impl_->in.get(cv::CAP_PROP_FRAME_COUNT);
  impl_->frames = frames > 0 && frames < 1e12 ? static_cast<std::int64_t>(frames) : 0;
  if (impl_->width < 1 || impl_->height < 1 || impl_->width > 32768 || impl_->height > 32768 || impl_->frames < 1)
    throw_error<DataError>(path, ": the video has ", impl_->frames, " frames of ", impl_->width, " x ", impl_->height,
                           "; at least one frame with sides from 1 to 32768 is needed");
}
VideoReader::~VideoReader() = default;
VideoReader::VideoReader(VideoReader&&) noexcept = default;
VideoReader& VideoReader::operator=(VideoReader&&) noexcept = default;

const std::string& VideoReader::path() const { return impl_->path; }
int VideoReader::width() const { return impl_->width; }
int VideoReader::height() const { return impl_->height; }
double VideoReader::frames_per_second() const { return impl_->rate; }
std::int64_t VideoReader::frames() const { return impl_->frames; }
std::int64_t VideoReader::position() const { return impl_->position; }

void VideoReader::read(Image& rgb) {
  const cv::Mat& bgr = impl_->decode();
  if (rgb.width != impl_->width || rgb.height != impl_->height || rgb.channels != 3)
    rgb = Image(impl_->width, impl_->height, 3);
  cv::Mat out(rgb.height, rgb.width, CV_8UC3, rgb.pixels.data());
  cv::cvtColor(bgr, out, cv::COLOR_BGR2RGB);
}
void VideoReader::read_grey(Image& grey) {
  const cv::Mat& bgr = impl_->decode();
  if (grey.width != impl_->width || grey.height != impl_->height || grey.channels != 1)
    grey = Image(impl_->width, impl_->height, 1);
  cv::Mat out(grey.height, grey.width, CV_8UC1, grey.pixels.data());
  cv::cvtColor(bgr, out, cv::COLOR_BGR2GRAY);
}
void VideoReader::skip() { impl_->grab(); }

}  // namespace mfl::data
