// A recording of a procedural mouse in the raw layout (data/recording.h), made from a seed.
//
//   OUTPUT/videos_undist/0.mp4 .. 5.mp4, OUTPUT/simpleclick_undist/0.mp4 .. 5.mp4, OUTPUT/new_cam.pkl, OUTPUT/truth.json
//
// truth.json: {"seed", "frames_per_second", "unit": "mm", "frames": [{"frame", "centre": [x, y, z] of the body's volume,
// "heading": radians from +x towards +y, "keypoints": {name: [x, y, z]}}]}
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace mfl::data::demo {

struct Options {
  std::string output;
  std::int64_t frames = 60;
  int animals = 1;                 // recordings; more than one: OUTPUT/animal_0, animal_1, ..., each of another animal and rig
  int width = 512, height = 512;   // even
  double frames_per_second = 20;
  std::uint64_t seed = 1;
  bool overwrite = false;
};

// Throws ConfigError for options outside their range, DataError where a folder holds a recording already, or where this
// build or its OpenCV cannot write videos. `progress(done, total)` counts frames.
void make_recordings(const Options&, const std::function<void(std::int64_t, std::int64_t)>& progress);

}  // namespace mfl::data::demo
