// A GS-LRM training run, from configuration to the last checkpoint.
#pragma once

#include <string>

#include "runtime/comm/communicator.h"
#include "train/config.h"
#include "train/launch.h"

namespace mfl {

// Runs on comm.device(). Returns an exit code: kExitOk, kExitRequeue after a signal, kExitNotFinite when training
// diverged. What the user got wrong is thrown as ConfigError or DataError.
int train_gslrm(const GslrmConfig&, Communicator&, const LaunchOptions& = {});

}  // namespace mfl
