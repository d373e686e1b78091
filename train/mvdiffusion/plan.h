// What an MVDiffusion run will need, before it starts.
#pragma once

#include <cstddef>
#include <string>

#include "train/memory_plan.h"
#include "train/mvdiffusion/config.h"

namespace mfl::mvdiffusion {

// Of the configuration as it is. Where its pipeline folder is not there, the published pipeline's sizes are planned with.
// `ranks`: among which mfl.shard_optimizer divides.
MemoryPlan plan_training(const TrainConfig&, int ranks = 1);

// The plan as a page of text, with the verdict for a device of `memory_bytes` (0: none) and, where it does not fit, what to change.
std::string describe(const TrainConfig&, const MemoryPlan&, std::size_t memory_bytes);

}  // namespace mfl::mvdiffusion
