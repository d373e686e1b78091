// Image and video files. image_file.cpp uses OpenCV; image_file_none.cpp is built without it and says so when called.
// All errors are DataError with the path, what was wrong, and what to do.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/image.h"

namespace mfl::data {

bool have_image_files();   // false in a build without OpenCV

// PNG (8 and 16 bit) or JPEG; grey, RGB or RGBA, whatever the file has. Of 16 bits the image holds the high bytes, as
// Pillow's 8-bit images do, and `low`, where given, the low ones (empty for 8 bits). Orientation tags are ignored, as
// Pillow's open does. Sizes are checked against the number of bytes before anything is allocated; an image that ends early
// is refused.
Image read_image(const std::string& path, std::vector<std::uint8_t>* low = nullptr);
Image decode_image(std::span<const std::uint8_t> bytes, const std::string& source, std::vector<std::uint8_t>* low = nullptr);
// 1, 3 or 4 channels; 16 bits a channel where there are low bytes. Written beside and renamed.
void write_png(const std::string& path, const Image&, std::span<const std::uint8_t> low = {});
void write_jpeg(const std::string& path, const Image&, int quality = 90);   // 1 or 3 channels
// A 16-bit PNG of the same values, v * 257; for tests and interchange.
void write_png16(const std::string& path, const Image&);

// MP4 video, RGB frames of one even size. H.264 where the installed OpenCV can encode it, else MPEG-4 part 2.
class VideoWriter {
 public:
  VideoWriter(const std::string& path, int width, int height, double frames_per_second);
  ~VideoWriter();
  void add(const Image& rgb);
  void close();                        // also checks that the file is not empty
  const std::string& codec() const;    // "H.264" or "MPEG-4"

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mfl::data
