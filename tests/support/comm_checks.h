// What every communicator must do, checked against serial loops. Called by all ranks together, on threads or in
// processes, on host memory or on CUDA.
#pragma once

#include "runtime/comm/communicator.h"

namespace mfl::test {

// Throws Error naming the collective, type, size and element. Host memory: results must have the bits of the serial sum
// in rank order. CUDA: integers exactly, floats within the rounding of `size` additions. Everywhere: the same bits on
// every rank. Returns the number of collectives checked. `large` adds sizes beyond the implementations' rounds.
int check_collectives(Communicator&, bool large);
void check_control_plane(Communicator&);

}  // namespace mfl::test
