// Which frames of a recording become samples, and which of them train and validate.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/sample.h"

namespace mfl::data::preprocess {

enum class SplitMode { time, random };

struct FramePlanOptions {
  std::int64_t frames = 0;  // of the recording
  double frames_per_second = 0;
  std::int64_t num_samples = 2000;  // at most
  std::int64_t interval = 0;  // every so many frames from frame 0; 0: num_samples spread evenly over the recording
  SplitMode split = SplitMode::time;
  double val_ratio = 0.2, test_ratio = 0;
  double guard_seconds = 1;  // between blocks of a split by time; its frames are in no sample
  std::uint64_t seed = 42;   // of a random split
};
struct PlannedFrame {
  std::int64_t raw_frame = 0;
  Split split = Split::train;
};
struct FramePlan {
  std::vector<PlannedFrame> frames;  // ascending
  std::int64_t guarded = 0;          // left out between the blocks
  // Median over validation frames of the time to the nearest training frame, seconds: what a random split gives away.
  double distance_seconds = 0;
};
// By time: training first, then validation, then test. Throws ConfigError where an option is out of range or a split
// that was asked for would be empty.
FramePlan plan_frames(const FramePlanOptions&);

}  // namespace mfl::data::preprocess
