#include "data/photo/photo.h"

#include <filesystem>
#include <fstream>
#include <opencv2/imgcodecs.hpp>

#include "data/image_file.h"
#include "data/sha256.h"

namespace mfl::data::photo {
namespace {

bool is_jpeg(std::span<const std::uint8_t> b) { return b.size() > 2 && b[0] == 0xff && b[1] == 0xd8; }

}  // namespace

Photo decode_photo(std::span<const std::uint8_t> bytes, const std::string& source) {
  std::vector<std::uint8_t> low;
  const Image stored = decode_image(bytes, source, &low);
  Photo out;
  out.sha256 = hex(Sha256().add(bytes.data(), bytes.size()).finish());
  out.channels = stored.channels, out.bits = low.empty() ? 8 : 16;
  out.image = with_channels(stored, stored.channels == 4 ? 4 : 3);
  if (!is_jpeg(bytes)) return out;
  // Cameras write pixels as the sensor lies, and a tag that says how to turn them; OpenCV follows it when it reads colour.
  const cv::Mat buffer(1, static_cast<int>(bytes.size()), CV_8UC1, const_cast<std::uint8_t*>(bytes.data()));
  cv::Mat upright;
  try {
    upright = cv::imdecode(buffer, cv::IMREAD_COLOR);
  } catch (const cv::Exception& e) {
    throw_error<DataError>(source, ": the image cannot be read: ", e.what());
  }
  if (upright.empty()) throw_error<DataError>(source, ": the image cannot be read; it is damaged. Copy or make it again");
  Image im(upright.cols, upright.rows, 3);
  for (int y = 0; y < im.height; ++y)
    for (int x = 0; x < im.width; ++x)
      for (int c = 0; c < 3; ++c) im.row(y)[3 * x + c] = upright.ptr<std::uint8_t>(y)[3 * x + 2 - c];
  out.turned = im.width != out.image.width || im.pixels != out.image.pixels;
  out.image = std::move(im);
  return out;
}

Photo read_photo(const std::string& path) {
  if (std::error_code none; std::filesystem::is_directory(path, none)) throw_error<DataError>(path, ": is a folder, expected an image, PNG or JPEG");
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) throw_error<DataError>(path, ": the image cannot be opened; is the name right?");
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(std::max<std::streamoff>(in.tellg(), 0)));
  in.seekg(0).read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!in) throw_error<DataError>(path, ": the image cannot be read; a file was expected");
  return decode_photo(bytes, path);
}

}  // namespace mfl::data::photo
