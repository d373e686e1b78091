// Reads a video frame by frame, in order: seeking in a compressed video is slow and, with some builds, lands elsewhere.
// video_reader.cpp uses OpenCV; video_reader_none.cpp is built without it and says so when called.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "data/image.h"

namespace mfl::data {

class VideoReader {
 public:
  // Throws DataError: no such file, not a video, no frames.
  explicit VideoReader(const std::string& path);
  ~VideoReader();
  VideoReader(VideoReader&&) noexcept;
  VideoReader& operator=(VideoReader&&) noexcept;

  const std::string& path() const;
  int width() const;
  int height() const;
  double frames_per_second() const;
  std::int64_t frames() const;    // as the container says; reading proves it
  std::int64_t position() const;  // number of the next frame

  // The next frame, RGB or luma (grey), into an image that is reused. Throws DataError when the video ends before
  // frames(), naming the frame; calling at the end is a DataError too.
  void read(Image& rgb);
  void read_grey(Image& grey);
  void skip();  // the next frame without converting it

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mfl::data
