// mfl_infer, from its command line on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "train/infer/input_options.h"

namespace mfl::infer {

// What a person has asked for; defaults are the program's.
struct Arguments {
  // What goes in: one of these four.
  std::vector<std::string> images;
  std::string views, dataset, sequence;
  InputArguments input;                           // how a photo becomes the network's picture
  std::string split, mask_video;                  // of the data set; of the sequence
  std::int64_t limit = 0;                         // objects of a data set, 0: all
  std::string part;                               // "2/8": every eighth object, from the second on; empty: all
  std::int64_t start = 0, end = -1, interval = 1; // raw frames [start, end) of a sequence, every interval-th; -1: to its end
  // The models.
  std::string pipeline, unet, prompts;
  std::string gslrm, config;
  int input_views = 0;                            // 0: as the configuration says
  // What comes out.
  std::string out;
  bool rank_references = false;
  int turntable_views = 0, turntable_size = 0;    // of the strip; 0: as the configuration says (mfl.render)
  bool video = true, viewer = true;
  std::string filters = "inference", ply = "published", turntable = "orbit";
  bool splat = false, spz = false, prune_visibility = false, crop_animal = false;
  // How.
  std::string device = "auto", compute = "bf16", encoders = "bf16", sampler = "ddim", order = "fixed", background, vgg16, lpips, memory;
  std::string reference = "0";
  int steps = 50;
  double guidance = 3, eta = 1;
  std::uint64_t seed = 42;
  std::int64_t batch = 1;
  bool plan = false;
};

// Returns the exit code; errors are thrown.
int run(const Arguments&);

}  // namespace mfl::infer
