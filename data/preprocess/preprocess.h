// From a raw recording to training samples whose cameras are true for their pixels.
//
// Videos are read in order, one sample in memory at a time (and one being written). A sample folder appears whole or
// not at all, so an interrupted run, started again with the same options, goes on where it stopped; with other options
// it refuses.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/preprocess/frame_plan.h"

namespace mfl::data::preprocess {

// Where the world's origin is put, and where aimed cameras look.
enum class Center {
  centroids,  // of each sample: where the rays through the masks' centroids meet
  hull,       // of each sample: centre of mass of the visual hull
  sequence,   // of the recording: median of the samples' centroid meetings
  fixed,      // a given point
};
enum class Aim {
  center,  // virtual cameras look at the centre: the animal is in the middle of every view
  keep,    // the raw cameras' own directions
};

struct Options {
  std::string video_dir, meta_dir;  // meta_dir empty: video_dir
  std::string output_dir;           // sample folders, lists, dataset.json
  std::string pack;                 // a packed file to write; without output_dir the folders are removed afterwards
  std::int64_t num_samples = 2000, interval = 0;
  SplitMode split = SplitMode::time;
  double val_ratio = 0.2, test_ratio = 0, guard_seconds = 1;
  std::uint64_t seed = 42;
  int image_size = 512;
  std::vector<int> views;  // camera numbers in the order of the written views; empty: all
  double zoom = 1;         // of the focal length, on top of the canonical one
  Center center = Center::centroids;
  Vec3 fixed_center{};  // in the recording's unit
  Aim aim = Aim::center;
  int reference = -1;               // camera that takes the front prompt; -1: the first view
  std::vector<std::int64_t> jumps;  // first frame after each jump in time
  bool skip_broken = false;         // leave frames out in which a view has no animal, or a cut one
  bool allow_clipped = false;       // keep frames in which the animal is cut by the border of a view
  bool overwrite = false;           // replace samples of an earlier run with other options
  bool compat_facelift = false;     // the published script's frames, crops, split and wrong cameras
  std::function<void(std::int64_t done, std::int64_t total, std::int64_t already)> progress;
};

struct Result {
  std::int64_t written = 0, already = 0;                       // samples made now, and found from an earlier run
  std::vector<std::pair<std::int64_t, std::string>> left_out;  // raw frame, reason
  FramePlan plan;
  std::vector<int> ring_order, prompt_slot;
  std::vector<float> slot_error;
  double centroid_miss = 0;  // rms of the centroid rays' miss distances, mean over the new samples, recording's unit
  double foreground = 0;     // mean alpha of the new samples' views
  double largest_zoom = 0;   // that would have cut none of the new samples; 0: unknown
};
// Throws ConfigError and DataError.
Result run(const Options&);

}  // namespace mfl::data::preprocess
