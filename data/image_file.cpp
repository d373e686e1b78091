#include "data/image_file.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>

#include "data/image_header.h"

namespace mfl::data {
namespace {

namespace fs = std::filesystem;

// OpenCV keeps colours as BGR(A).
cv::Mat to_mat(const Image& im) {
  const int type = im.channels == 1 ? CV_8UC1 : im.channels == 3 ? CV_8UC3 : CV_8UC4;
  const cv::Mat view(im.height, im.width, type, const_cast<std::uint8_t*>(im.pixels.data()));
  cv::Mat out;
  if (im.channels == 1) return view;
  cv::cvtColor(view, out, im.channels == 3 ? cv::COLOR_RGB2BGR : cv::COLOR_RGBA2BGRA);
  return out;
}

void write(const std::string& path, const cv::Mat& m, const std::string& extension, const std::vector<int>& options) {
  const std::string part = path + ".part" + extension;   // OpenCV chooses the format by the name's end
  try {
    if (!cv::imwrite(part, m, options)) throw_error<DataError>(path, ": the image cannot be written");
  } catch (const cv::Exception& e) {
    throw_error<DataError>(path, ": the image cannot be written: ", e.what());
  }
  std::error_code error;
  fs::rename(part, path, error);
  if (error) throw_error<DataError>(path, ": the image cannot be written: ", error.message());
}

}  // namespace

bool have_image_files() { return true; }

Image decode_image(std::span<const std::uint8_t> bytes, const std::string& source, std::vector<std::uint8_t>* low) {
  check_image_bytes(bytes, source);
  cv::Mat m;
  try {
    const cv::Mat buffer(1, static_cast<int>(bytes.size()), CV_8UC1, const_cast<std::uint8_t*>(bytes.data()));
    m = cv::imdecode(buffer, cv::IMREAD_UNCHANGED);
  } catch (const cv::Exception& e) {
    throw_error<DataError>(source, ": the image cannot be read: ", e.what());
  }
  if (m.empty()) throw_error<DataError>(source, ": the image cannot be read; it is damaged. Copy or make it again");
  const int channels = m.channels();
  if (channels != 1 && channels != 3 && channels != 4)
    throw_error<DataError>(source, ": the image has ", channels, " channels; 1, 3 or 4 are supported");
  if (m.depth() != CV_8U && m.depth() != CV_16U) throw_error<DataError>(source, ": only 8 and 16 bits a channel are supported");
  const bool wide = m.depth() == CV_16U;
  Image im(m.cols, m.rows, channels);
  if (low) low->assign(wide ? im.pixels.size() : 0, 0);
  static constexpr int kFrom[4] = {2, 1, 0, 3};
  for (int y = 0; y < m.rows; ++y)
    for (int x = 0; x < m.cols; ++x)
      for (int c = 0; c < channels; ++c) {
        const int from = x * channels + (channels == 1 ? 0 : kFrom[c]), to = x * channels + c;
        if (!wide) {
          im.row(y)[to] = m.ptr<std::uint8_t>(y)[from];
          continue;
        }
        const std::uint16_t v = m.ptr<std::uint16_t>(y)[from];
        im.row(y)[to] = static_cast<std::uint8_t>(v >> 8);
        if (low) (*low)[static_cast<std::size_t>(y) * m.cols * channels + to] = static_cast<std::uint8_t>(v & 255);
      }
  return im;
}

Image read_image(const std::string& path, std::vector<std::uint8_t>* low) {
  if (std::error_code none; fs::is_directory(path, none)) throw_error<DataError>(path, ": is a folder, expected an image, PNG or JPEG");
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) {
    std::error_code error;
    throw_error<DataError>(path, fs::exists(path, error) ? ": the image cannot be opened" : ": the image does not exist");
  }
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(std::max<std::streamoff>(in.tellg(), 0)));
  in.seekg(0).read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!in) throw_error<DataError>(path, ": the image cannot be read");
  return decode_image(bytes, path, low);
}

void write_png(const std::string& path, const Image& im, std::span<const std::uint8_t> low) {
  const cv::Mat high = to_mat(im);
  if (low.empty()) return write(path, high, ".png", {cv::IMWRITE_PNG_COMPRESSION, 4});
  MFL_CHECK(low.size() == im.pixels.size(), path, ": ", low.size(), " low bytes for ", im.pixels.size(), " high ones");
  Image other(im.width, im.height, im.channels);
  std::copy(low.begin(), low.end(), other.pixels.begin());
  cv::Mat wide, add;
  high.convertTo(wide, CV_16U, 256);
  to_mat(other).convertTo(add, CV_16U);
  write(path, wide + add, ".png", {cv::IMWRITE_PNG_COMPRESSION, 4});
}
void write_jpeg(const std::string& path, const Image& im, int quality) {
  MFL_CHECK(im.channels != 4, "write_jpeg: JPEG has no alpha; composite first");
  write(path, to_mat(im), ".jpg", {cv::IMWRITE_JPEG_QUALITY, quality});
}
void write_png16(const std::string& path, const Image& im) {
  cv::Mat wide;
  to_mat(im).convertTo(wide, CV_16U, 257);
  write(path, wide, ".png", {});
}

struct VideoWriter::Impl {
  std::string path, codec;
  int width, height;
  cv::VideoWriter out;
};

VideoWriter::VideoWriter(const std::string& path, int width, int height, double rate)
    : impl_(new Impl{path, {}, width, height, {}}) {
  MFL_CHECK(width > 0 && height > 0 && width % 2 == 0 && height % 2 == 0, "a video needs an even size, got ", width, " x ", height);
  for (const auto& [fourcc, name] : {std::pair{cv::VideoWriter::fourcc('a', 'v', 'c', '1'), "H.264"},
                                     std::pair{cv::VideoWriter::fourcc('m', 'p', '4', 'v'), "MPEG-4"}}) {
    if (impl_->out.open(path, cv::CAP_FFMPEG, fourcc, rate, cv::Size(width, height))) {
      impl_->codec = name;
      return;
    }
  }
  throw_error<DataError>(path, ": the video cannot be written; the folder must exist, and OpenCV must be built with FFmpeg");
}
VideoWriter::~VideoWriter() = default;
void VideoWriter::add(const Image& im) {
  MFL_CHECK(im.channels == 3 && im.width == impl_->width && im.height == impl_->height, "video frame of ", im.width, " x ",
            im.height, " x ", im.channels, " in a video of ", impl_->width, " x ", impl_->height, " RGB");
  impl_->out.write(to_mat(im));
}
void VideoWriter::close() {
  impl_->out.release();
  std::error_code error;
  if (fs::file_size(impl_->path, error) == 0 || error) throw_error<DataError>(impl_->path, ": the video was not written");
}
const std::string& VideoWriter::codec() const { return impl_->codec; }

}  // namespace mfl::data
