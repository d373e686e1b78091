// The full-size multi-view UNet, timed: one training pass without the optimizer, and one sampling call under guidance.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/device.h"
#include "runtime/dtype.h"

namespace mfl::bench {

struct UnetTime {
  std::string what;
  double milliseconds;   // median
  double tflops;         // products of the pass per second; backward counts twice forward, recomputation not
  double peak_gib;       // activations
};
// `objects` of six views, latents of 64 x 64, random weights. Throws DeviceError if an output or a gradient is not finite.
std::vector<UnetTime> time_unet(Device, DType compute, std::int64_t objects, bool recompute, int repeats);

}  // namespace mfl::bench
