// Means of named metrics over samples and ranks; a metric counts only the samples that have it.
#pragma once

#include <exception>
#include <string>
#include <vector>

#include "runtime/comm/communicator.h"
#include "train/run_log.h"

namespace mfl {

class MetricSums {
 public:
  void add(const std::string& name, double value);
  // This rank's part of the validation threw the exception that is being handled: means() throws on all ranks.
  void fail() { failure_ = std::current_exception(); }

  // Collective: means over all ranks' samples, names in the order of their first appearance on the lowest rank that has
  // them. Ranks may hold different names (a share without foreground, or no share at all). Where a rank failed, it throws its
  // failure and the others DataError with the rank and the cause, so that all leave validation at the same place.
  struct Mean {
    std::string name;
    double value = 0;
    std::int64_t count = 0;   // samples that have it
  };
  std::vector<Mean> means(Communicator&) const;

 private:
  struct Sum {
    std::string name;
    double sum = 0, count = 0;
  };
  std::vector<Sum> all_;
  std::exception_ptr failure_;
};

}  // namespace mfl
