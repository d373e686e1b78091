// What may be said about a photo, and how the command line says it. The photo itself: train/infer/input_image.h.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "data/photo/framing.h"

namespace CLI {
class App;
}

namespace mfl::infer {

struct InputOptions {
  std::int64_t side = 512;                      // of the network's pictures
  std::array<double, 3> background{1, 1, 1};    // RGB in [0, 1]
  std::string mask;                             // image file of the photo's size, bright where the animal is; empty: none
  bool accept_segmentation = false;             // take an outline of which the program is not sure
  bool keep_background = false;                 // no alpha, no mask: leave the picture as it is, and do not frame it
  data::photo::FramingOptions framing;
};

// As typed; meant by `input_options`.
struct InputArguments {
  std::string mask, intrinsics, calibration, framing_from;
  int camera = -1;
  double share = 0;   // 0: framing_from's, or kMouseShare
  bool accept_segmentation = false, keep_background = false, no_framing = false;
};

// --mask, --accept-segmentation, --keep-background, --no-framing, --framing-share, --framing-from, --intrinsics, --calibration, --camera
void add_input_options(CLI::App&, InputArguments&);
// Throws ConfigError for what contradicts itself; reads nothing.
void check_input_arguments(const InputArguments&);
bool any(const InputArguments&);   // was anything said about a photo?
// Throws as check_input_arguments does, and DataError for files.
InputOptions input_options(const InputArguments&, std::int64_t side, const std::array<double, 3>& background);

}  // namespace mfl::infer
