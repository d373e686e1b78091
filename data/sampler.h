// Which samples a step trains on: a pure function of (seed, data set size, start, global batch, step).
//
// Each epoch has its own permutation; together they are an endless row, and a position in it is epoch * size + entry. A step takes
// the next G = world * batch entries, rank r its share of `batch` of them; entries that are left at the end of an epoch, fewer than
// G, are dropped. A set smaller than one global batch goes around as often as a step needs, and drops none. The order therefore
// does not depend on how many ranks share a global batch, and a run that goes on from a position with another number of ranks or
// another batch takes what comes next, nothing twice and nothing left out.
#pragma once

#include <cstdint>
#include <vector>

namespace mfl::data {

// One use of a sample. `pass` counts how often the sample has been used before; draws are keyed by it.
struct Pick {
  std::int64_t sample = 0;
  std::uint64_t pass = 0;
  bool operator==(const Pick&) const = default;
};

struct SamplerOptions {
  std::int64_t size = 0;        // samples in the set
  std::int64_t batch = 1;       // per rank and step
  int rank = 0, world = 1;
  std::uint64_t seed = 777;
  std::uint64_t start = 0;      // position of the first step
  bool shuffle = true;          // false: file order
  bool once = false;            // validation: one pass in file order; the last steps may be short or empty, nothing wraps
};

class Sampler {
 public:
  // Throws DataError for an empty set.
  explicit Sampler(SamplerOptions);
  // Position of the first entry of step `step`, of all ranks; and behind the last one of so many steps: a later run's start.
  std::uint64_t begin(std::uint64_t step) const;
  std::uint64_t behind(std::uint64_t steps) const { return steps == 0 ? options_.start : begin(steps - 1) + global(); }
  // This rank's share of step `step`. Not thread-safe: it remembers the last permutation.
  std::vector<Pick> picks(std::uint64_t step);
  // Steps of an epoch: floor(size / G), at least 1; ceil when `once`.
  std::int64_t steps_per_epoch() const;
  bool wraps() const { return !options_.once && options_.size < options_.batch * options_.world; }
  const SamplerOptions& options() const { return options_; }

 private:
  std::uint64_t global() const { return static_cast<std::uint64_t>(options_.batch * options_.world); }
  const std::vector<std::int64_t>& permutation(std::uint64_t epoch);
  SamplerOptions options_;
  std::uint64_t epoch_ = ~std::uint64_t{0};
  std::vector<std::int64_t> permutation_;
};

}  // namespace mfl::data
