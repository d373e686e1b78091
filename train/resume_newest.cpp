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

void say_other_batch(bool leader, std::int64_t before, const UpdateSize& u) {
  if (!leader || before <= 0 || before == u.samples()) return;
  log_warning("this run takes ", u.samples(), " samples an update (", u.batch, " x ", u.ranks, u.ranks == 1 ? " rank x " : " ranks x ", u.accumulation,
              "), and the checkpoint's run took ", before, ". The data go on behind the last sample, and the learning rate goes on with the updates. ",
              before % u.ranks == 0 ? text("To go on as before: ", u.keys, " = ", before / u.ranks, '.')
                                    : text("As before cannot be had on ", u.ranks, " ranks, of which ", before, " is no multiple."));
}

}  // namespace mfl
