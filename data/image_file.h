// Image and video files. image_file.cpp uses OpenCV; image_file_none.cpp is built without it and says so when called.
// All errors are DataError with the path, what was wrong, and what to do.
#pragma once

#include <memory>
#include <string>

#include "data/image.h"

namespace mfl::data {

bool have_image_files();   // false in a build without OpenCV

// PNG (8 and 16 bit; of 16 bits the high byte is kept, as Pillow does) or JPEG; grey, RGB or RGBA, whatever the file has.
// Orientation tags are ignored, as Pillow's open does.
Image read_image(const std::string& path);
// 1, 3 or 4 channels. Written beside and renamed.
void write_png(const std::string& path, const Image&);
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
