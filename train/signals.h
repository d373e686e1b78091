// Stop requests from outside: Slurm, the terminal, an administrator.
//
//   SIGTERM, SIGUSR1   finish the step, write a checkpoint, exit with kExitRequeue
//   SIGINT (Ctrl-C)    the same the first time, with kExitInterrupted; the second time ends the process at once
//
// A signal may reach one rank alone, so the ranks agree, once a step, over the control plane: all stop after the same
// step.
#pragma once

#include "runtime/comm/communicator.h"

namespace mfl {

enum class Stop : int { none = 0, requeue = 1, interrupt = 2 };
inline constexpr int kExitInterrupted = 130;  // 128 + SIGINT, as shells have it

// Installs the handlers; the destructor restores what was there. One at a time.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  Stop mine() const;                 // what this process has received
  Stop agreed(Communicator&) const;  // the strongest that any rank has received; the same on every rank
};

}  // namespace mfl
