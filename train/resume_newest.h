// All ranks of a run resume from the same checkpoint: the newest that every one of them can read. On whatever number of ranks it was made.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "runtime/comm/communicator.h"

namespace mfl {

// Collective. `newest_first`: as the leader sees them; another host may see a new file later. `resume` reads one and throws DataError
// where it cannot; then all ranks try the one before it, loudly, so whatever it has taken until then must be overwritten by the next.
// False: there is none. Throws the last one's failure when all fail: a run never begins anew where there are checkpoints.
bool resume_first_that_fits(Communicator&, const std::vector<std::filesystem::path>& newest_first,
                            const std::function<void(const std::filesystem::path&)>& resume);

// What an update is made of.
struct UpdateSize {
  std::int64_t batch = 1;          // samples of a rank's micro-batch
  int ranks = 1, accumulation = 1;
  std::string keys;                // of batch x accumulation
  std::int64_t samples() const { return batch * ranks * accumulation; }
};
// A warning of the leader where a run goes on with another number of samples an update than its checkpoint's (`before`; 0: not known), and
// which configuration keeps it.
void say_other_batch(bool leader, std::int64_t before, const UpdateSize&);

}  // namespace mfl
