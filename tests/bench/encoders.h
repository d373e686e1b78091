// Times the diffusion stage's frozen encoders at full size: CLIP ViT-H/14 and Stable Diffusion's autoencoder at 512x512, with
// random weights.
#pragma once

#include <string>
#include <vector>

#include "runtime/dtype.h"
#include "runtime/device.h"

namespace mfl::bench {

struct EncoderTime {
  std::string what;      // "CLIP ViT-H/14, an image"
  double milliseconds;   // an image: median over `repeats` of a batch, divided by the batch
  double peak_gib;       // activations of the batch
};
std::vector<EncoderTime> time_encoders(Device, DType compute, int images, int repeats);

}  // namespace mfl::bench
