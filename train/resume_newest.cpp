#include "train/resume_newest.h"

#include <sstream>
#include <string>

#include "runtime/log.h"
#include "train/agreed_failure.h"

namespace mfl {

bool resume_first_that_fits(Communicator& comm, const std::vector<std::filesystem::path>& newest_first,
                            const std::function<void(const std::filesystem::path&)>& resume) {
  const bool leader = comm.rank() == 0;
  std::string mine;
  for (const auto& p : newest_first) mine += p.string() + '\n';
  std::istringstream leaders(comm.broadcast_text(mine, 0));
  std::exception_ptr failure;
  for (std::string path, failed; std::getline(leaders, path); failed = path) {
    if (failure && leader) log_warning("cannot resume from ", failed, ": ", cause_of(failure), "\ntrying the one before it");
    failure = nullptr;
    try {
      resume(path);
    } catch (const DataError&) {
      failure = std::current_exception();
    }
    failure = agreed_failure(comm, failure);
    if (!failure) return true;
  }
  if (failure) std::rethrow_exception(failure);
  return false;
}

}  // namespace mfl
