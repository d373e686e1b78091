#include "train/infer/input_image.h"

#include <algorithm>
#include <cstring>

#include "data/image_file.h"
#include "data/sha256.h"
#include "runtime/error.h"
#include "runtime/io/byte_source.h"
#include "runtime/log.h"

namespace mfl::infer {
namespace {

using data::Image;

// In the middle of a square, the rest transparent.
Image padded(const Image& rgba) {
  const int side = std::max(rgba.width, rgba.height), left = (side - rgba.width) / 2, top = (side - rgba.height) / 2;
  Image out(side, side, 4);
  for (int y = 0; y < rgba.height; ++y)
    std::memcpy(out.row(y + top) + 4 * left, rgba.row(y), static_cast<std::size_t>(rgba.width) * 4);
  return out;
}

}  // namespace

InputImage read_input_image(const std::filesystem::path& path, std::int64_t side, const std::array<double, 3>& background) {
  const io::Source file = io::open_file(path);
  const std::vector<std::byte> bytes = file->read(0, file->size());
  const std::span<const std::uint8_t> raw(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  InputImage out = prepare_input_image(data::decode_image(raw, path.string()), path.string(), side, background);
  out.sha256 = data::hex(data::Sha256().add(bytes.data(), bytes.size()).finish());
  return out;
}

InputImage prepare_input_image(Image im, const std::string& where, std::int64_t side, const std::array<double, 3>& background) {
  InputImage out;
  out.had_alpha = im.channels == 4;
  const int width = im.width, height = im.height;
  if (!out.had_alpha)
    log_warning(where, " has no alpha: its background stays. The network knows animals on a plain background; give an RGBA image "
                "whose background is transparent.");
  im = data::with_channels(im, 4);
  if (data::foreground_share(im) == 0)
    throw_error<DataError>(where, " is transparent everywhere: its alpha is 0. Give an image whose alpha shows the animal.");
  if (im.width != im.height) {
    log_info(where, " is ", im.width, " x ", im.height, "; padded to a square.");
    im = padded(im);
  }
  const int size = static_cast<int>(side);
  if (im.width != size) im = data::resize_lanczos(im, size, size);
  std::uint8_t colour[3];
  for (std::size_t c = 0; c < 3; ++c) colour[c] = static_cast<std::uint8_t>(background[c] * 255);
  data::composite_over(im, colour);
  im = data::with_channels(im, 3);
  out.pixels = Tensor::on_heap({side, side, 3}, DType::u8);
  std::copy(im.pixels.begin(), im.pixels.end(), out.pixels.data<std::uint8_t>());
  out.decisions = text(R"({"width": )", width, R"(, "height": )", height, R"(, "background": ")", out.had_alpha ? "alpha" : "as it is",
                       R"(", "framing": ")", width == height ? "resized" : "padded to a square, resized", R"("})");
  return out;
}

}  // namespace mfl::infer
