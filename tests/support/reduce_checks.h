// The gradient reducer over any communicator: the average over ranks, whatever the order in which parameters become
// ready.
#pragma once

#include "runtime/comm/communicator.h"

namespace mfl::test {

// Called by all ranks together, on the communicator's device. Throws Error naming parameter and element.
void check_grad_reducer(Communicator&);

}  // namespace mfl::test
