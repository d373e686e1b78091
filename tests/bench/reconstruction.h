// What a person waits for after the views are there: six views to Gaussians, Gaussians to a file, one picture of them.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "runtime/device.h"
#include "runtime/dtype.h"

namespace mfl::bench {

struct ReconstructionBench {
  Device device{};
  DType compute = DType::bf16;
  std::filesystem::path config = "configs/gslrm.yaml";
  std::filesystem::path checkpoint;   // its weights; empty: zeros, which a GPU multiplies faster than numbers
  int repeats = 10;
};
struct ReconstructionTime {
  std::string what;
  double value;
  std::string unit;
};
void time_reconstruction(const ReconstructionBench&, const std::function<void(const ReconstructionTime&)>&);

}  // namespace mfl::bench
