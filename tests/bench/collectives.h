// How fast ranks add their gradients: the rate of an all-reduce, over whatever the launcher and the device give.
#pragma once

#include "runtime/comm/communicator.h"

namespace mfl::bench {

struct AllReduceRate {
  double seconds = 0;        // of one all-reduce, the median
  double bus_bytes = 0;      // a second, 2 (n - 1) / n of the buffer: comparable between numbers of ranks, as NCCL's tests count
};
// Collective: f32 [mib * 2^18], `repeats` times. One rank: nothing to move, no rate.
AllReduceRate time_all_reduce(Communicator&, int mib, int repeats);

}  // namespace mfl::bench
