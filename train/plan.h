// What a GS-LRM run will need, before it starts.
#pragma once

#include <cstddef>
#include <string>

#include "train/config.h"
#include "train/memory_plan.h"

namespace mfl {

// `segment` -1: as the configuration says (auto takes `memory_bytes` into account: the least recomputation that fits; 0 stands
// for unknown and gives none). `ranks`: among which mfl.shard_optimizer divides.
MemoryPlan plan_gslrm(const GslrmConfig&, std::size_t memory_bytes, int segment = -1, int ranks = 1);

// The plan as a page of text: parameters, memory by kind and module, the verdict for a device of `memory_bytes` (0: none)
// and, where it does not fit, what to change.
std::string describe(const GslrmConfig&, const MemoryPlan&, std::size_t memory_bytes);

}  // namespace mfl
