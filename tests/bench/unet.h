// The multi-view UNet, timed as it is used: whole training steps (draw, noise, forward, backward, AdamW, moving average) on cached
// latents, and sampling of an object's views with decoding. Fresh weights, made on the device.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "runtime/device.h"
#include "runtime/dtype.h"

namespace mfl::bench {

struct UnetBench {
  Device device{};
  DType compute = DType::bf16;
  bool tiny = false;             // a narrow network, for a test of this program
  std::int64_t objects = 8;      // of six views, in a training step
  std::int64_t batch = 1;        // objects sampled at once
  int steps = 50;                // of the sampler
  double guidance = 3;
  bool recompute = false;
  bool train = true, sample = true;
  bool breakdown = false;        // print where the time goes
  int repeats = 10;
};

struct UnetTime {
  std::string what;
  double milliseconds = 0;       // median
  double samples = 0;            // objects of six views a second
  double tflops = 0;             // products a second; backward counts twice forward, recomputation not
  double weight_gib = 0, peak_gib = 0;   // parameters with gradients, moments and average; activations
};
// `done` is called as results come. Throws DeviceError if the loss, a gradient or an image is not finite.
void time_unet(const UnetBench&, const std::function<void(const UnetTime&)>& done);

}  // namespace mfl::bench
