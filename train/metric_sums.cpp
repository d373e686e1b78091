#include "train/metric_sums.h"

#include <algorithm>
#include <array>
#include <sstream>

#include "train/agreed_failure.h"

namespace mfl {

void MetricSums::add(const std::string& name, double value) {
  for (Sum& s : all_)
    if (s.name == name) {
      s.sum += value, s.count += 1;
      return;
    }
  all_.push_back({name, value, 1});
}

std::vector<MetricSums::Mean> MetricSums::means(Communicator& comm) const {
  std::string names;
  for (const Sum& s : all_) names += s.name + "\n";
  if (const std::exception_ptr failure = agreed_failure(comm, failure_)) std::rethrow_exception(failure);
  std::vector<std::string> agreed;
  for (const std::string& of_rank : comm.gather_text(names)) {
    std::istringstream lines(of_rank);
    for (std::string n; std::getline(lines, n);)
      if (std::find(agreed.begin(), agreed.end(), n) == agreed.end()) agreed.push_back(n);
  }
  std::vector<Mean> means;
  for (const std::string& name : agreed) {
    std::array<double, 2> mine{};
    for (const Sum& s : all_)
      if (s.name == name) mine = {s.sum, s.count};
    double sum = 0, count = 0;
    for (const auto& x : comm.gather(mine)) sum += x[0], count += x[1];
    means.push_back({name, sum / count, static_cast<std::int64_t>(count)});
  }
  return means;
}

}  // namespace mfl
