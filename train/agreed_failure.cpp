#include "train/agreed_failure.h"

#include <string>
#include <vector>

#include "runtime/error.h"

namespace mfl {

std::string cause_of(std::exception_ptr failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    return "an error of unknown type";
  }
}

std::exception_ptr agreed_failure(Communicator& comm, std::exception_ptr mine) {
  const std::vector<std::string> causes = comm.gather_text(mine ? "failed: " + cause_of(mine) : std::string());
  if (mine) return mine;
  for (std::size_t rank = 0; rank < causes.size(); ++rank)
    if (!causes[rank].empty()) return std::make_exception_ptr(DataError(text("rank ", rank, ' ', causes[rank])));
  return nullptr;
}

}  // namespace mfl
