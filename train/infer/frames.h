// Frames of a video as objects of the first stage, read once and in order.
#pragma once

#include <string>

#include "train/infer/input_options.h"
#include "train/mvdiffusion/view_set.h"

namespace mfl::infer {

struct FrameOptions {
  std::string video, mask;                        // mask: a video of the same frames, bright where the animal is; empty: none
  std::int64_t start = 0, end = -1, interval = 1; // raw frames start, start + interval, .. below end; -1: to the video's end
  InputOptions input;   // without a mask the outline is drawn against the video's own background
};

// Objects are called frame_000123 after their number in the video. Throws DataError: no video, a mask of another length or size;
// ConfigError: no frame in the range.
ViewSet video_frames(const FrameOptions&);
// Changes when the videos do: path, size and time.
std::string video_identity(const FrameOptions&);

}  // namespace mfl::infer
