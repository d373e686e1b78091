// An MVDiffusion training run, from configuration to the last checkpoint.
#pragma once

#include "runtime/comm/communicator.h"
#include "train/launch.h"
#include "train/mvdiffusion/config.h"

namespace mfl::mvdiffusion {

// Runs on comm.device(). Returns an exit code: kExitOk, kExitRequeue after a signal, kExitNotFinite when training diverged.
// What the user got wrong is thrown as ConfigError or DataError.
int train(const TrainConfig&, Communicator&, const LaunchOptions& = {});

}  // namespace mfl::mvdiffusion
