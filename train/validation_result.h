// What a validation leaves: metrics for the log, paths, pictures for the event file.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "train/run_log.h"

namespace mfl {

struct ValidationResult {
  struct Png {
    int width = 0, height = 0;
    std::string bytes;
  };
  Metrics metrics;                                   // means over all samples of all ranks
  Facts facts;                                       // paths of what was written
  std::vector<std::pair<std::string, Png>> images;   // rank 0: for the event file
  std::int64_t samples = 0;
};

}  // namespace mfl
