// A GS-LRM training run, from configuration to the last checkpoint.
#pragma once

#include <string>

#include "runtime/comm/communicator.h"
#include "train/config.h"

namespace mfl {

class StopSignals;

struct LaunchOptions {
  const StopSignals* signals = nullptr;   // the process's, if it installed any
  std::size_t memory_bytes = 0;      // pretend the device has this much; 0: ask it
  bool dry_run = false;              // stop after the plan and the checks of data and weights
};

// Runs on comm.device(). Returns an exit code: kExitOk, kExitRequeue after a signal, kExitNotFinite when training
// diverged. What the user got wrong is thrown as ConfigError or DataError.
int train_gslrm(const GslrmConfig&, Communicator&, const LaunchOptions& = {});

}  // namespace mfl
