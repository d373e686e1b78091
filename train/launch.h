// How a training program was started, apart from its configuration.
#pragma once

#include <cstddef>

namespace mfl {

class StopSignals;

struct LaunchOptions {
  const StopSignals* signals = nullptr;   // the process's, if it installed any
  std::size_t memory_bytes = 0;      // pretend the device has this much; 0: ask it
  bool dry_run = false;              // stop after the plan and the checks of data and weights
  bool verify_checkpoints = false;   // every checkpoint is read from the disk again before an older one goes
};

}  // namespace mfl
