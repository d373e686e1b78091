// All ranks of a run resume from the same checkpoint: the newest that every one of them can read.
#pragma once

#include <filesystem>
#include <functional>
#include <vector>

#include "runtime/comm/communicator.h"

namespace mfl {

// Collective. `newest_first`: as the leader sees them; another host may see a new file later. `resume` reads one and throws DataError
// where it cannot; then all ranks try the one before it, loudly, so whatever it has taken until then must be overwritten by the next.
// False: there is none. Throws the last one's failure when all fail: a run never begins anew where there are checkpoints.
bool resume_first_that_fits(Communicator&, const std::vector<std::filesystem::path>& newest_first,
                            const std::function<void(const std::filesystem::path&)>& resume);

}  // namespace mfl
