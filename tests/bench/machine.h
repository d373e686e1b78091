// What a measurement was made on, and how fast that machine is at best.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "runtime/device.h"
#include "runtime/dtype.h"

namespace mfl::bench {

// commit (environment MFL_COMMIT, else git; "-dirty" with local changes), date (UTC), device, driver, CUDA toolkit, and
// on a GPU what nvidia-smi says of clocks and power limit at this moment. What is not known is left out.
nlohmann::ordered_json describe_machine(Device);

// The roofs of this device, measured now, the best of several runs: a copy far larger than any cache, and a large
// matrix product of this dtype through linear_fwd.
struct Peaks {
  double bytes_per_second = 0, flops_per_second = 0;
};
Peaks measure_peaks(Device, DType);

}  // namespace mfl::bench
