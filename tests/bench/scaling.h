// Weak scaling from the logs of two runs: as much work a rank, on one rank and on N.          cluster/weak_scaling.sh makes the runs
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

namespace mfl::bench {

struct ScalingRuns {
  std::filesystem::path one, many;   // log.jsonl of one rank and of N, a line an update; only a log's first start is timed
  std::filesystem::path same;        // of one rank that took the samples of N an update; empty: losses are not compared
  int warmup = 10;                   // updates that are not timed
  double loss_bound = 0.01;          // largest relative difference of two losses that is taken for rounding
};

// Fields of a record: ranks, rates, efficiency (rate of N over N x the rate of one), milliseconds of an update (median, 10 % and 90 %),
// milliseconds of an update in which gradients were reduced and those that nothing hid, memory, the largest relative difference of losses
// over how many updates. Throws DataError: a log that has no run, or runs that do not compare, with what differs; and where losses
// differ by more than the bound, with the update.
nlohmann::ordered_json weak_scaling(const ScalingRuns&);

}  // namespace mfl::bench
