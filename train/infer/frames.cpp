#include "train/infer/frames.h"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <optional>

#include "data/video_reader.h"
#include "train/infer/input_image.h"

namespace mfl::infer {
namespace {

namespace fs = std::filesystem;

// Both videos side by side; goes forward only, and begins anew where an earlier frame is asked for.
struct Videos {
  FrameOptions o;
  std::optional<data::VideoReader> colour, mask;

  void open() {
    colour.emplace(o.video);
    if (o.mask.empty()) return;
    mask.emplace(o.mask);
    if (mask->frames() != colour->frames() || mask->width() != colour->width() || mask->height() != colour->height())
      throw_error<DataError>(o.mask, ": ", mask->frames(), " frames of ", mask->width(), " x ", mask->height(), ", but ", o.video, " has ", colour->frames(), " of ",
                             colour->width(), " x ", colour->height(), ". Give the mask video of this very recording.");
  }
  // RGB, or RGBA with the thresholded mask.
  data::Image read(std::int64_t frame) {
    if (colour->position() > frame) open();
    while (colour->position() < frame) {
      colour->skip();
      if (mask) mask->skip();
    }
    data::Image rgb;
    colour->read(rgb);
    if (!mask) return rgb;
    data::Image grey, rgba = data::with_channels(rgb, 4);
    mask->read_grey(grey);
    for (std::size_t p = 0; p < grey.pixels.size(); ++p) rgba.pixels[4 * p + 3] = grey.pixels[p] >= 128 ? 255 : 0;
    return rgba;
  }
};

std::string identity(const std::string& file) {
  return fmt::format("{} {} {}", fs::absolute(file).lexically_normal().string(), fs::file_size(file),
                     std::chrono::duration_cast<std::chrono::seconds>(std::chrono::file_clock::to_sys(fs::last_write_time(file)).time_since_epoch()).count());
}

}  // namespace

std::string video_identity(const FrameOptions& o) { return o.mask.empty() ? identity(o.video) : identity(o.video) + ", " + identity(o.mask); }

ViewSet video_frames(const FrameOptions& o) {
  auto videos = std::make_shared<Videos>(Videos{o, {}, {}});
  videos->open();
  const std::int64_t frames = videos->colour->frames(), end = o.end < 0 ? frames : std::min(o.end, frames);
  if (o.start >= end)
    throw_error<ConfigError>("--start ", o.start, ", --end ", o.end < 0 ? std::string("(of the video)") : std::to_string(o.end), ": no frame is left of ", o.video, ", which has ",
                             frames, ".");
  const std::int64_t size = (end - o.start + o.interval - 1) / o.interval;
  auto frame_of = [o](std::int64_t i) { return o.start + i * o.interval; };
  auto name = [frame_of](std::int64_t i) { return fmt::format("frame_{:06d}", frame_of(i)); };
  std::shared_ptr<const data::photo::BackgroundModel> model;
  if (o.mask.empty() && !o.input.keep_background) model = std::make_shared<data::photo::BackgroundModel>(o.video);   // all of it: a frame's outline does not depend on --start, --end and ranks
  auto sample = [videos, model, frame_of, name, o](std::int64_t i) {
    const std::string where = fmt::format("{}, frame {}", o.video, frame_of(i));
    const InputImage im = prepare_input_image(videos->read(frame_of(i)), where, o.input, nullptr, model.get());
    ViewSample s;
    s.name = name(i);
    s.noise = noise_number(im.pixels);
    s.reference = im.pixels;
    s.prompts = {0, 1, 2, 3, 4, 5};
    s.origin = fmt::format(R"({{"raw_frame": {}, "input": {}}})", frame_of(i), im.decisions);
    return s;
  };
  return {size, sample, name};
}

}  // namespace mfl::infer
