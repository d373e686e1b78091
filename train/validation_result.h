// What a validation leaves: metrics and facts for the log, pictures for the event file.
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
  Facts facts;                                       // what else is to be said
  std::vector<std::pair<std::string, Png>> images;   // rank 0: for the event file
  std::int64_t samples = 0;
  double seconds = 0;                                // that the training loop waited; 0: not measured
};

}  // namespace mfl
