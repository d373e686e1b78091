#include "data/sampler.h"

#include <algorithm>
#include <numeric>

#include "runtime/error.h"
#include "runtime/rng.h"

namespace mfl::data {

Sampler::Sampler(SamplerOptions o) : options_(o) {
  MFL_CHECK(o.batch >= 1 && o.world >= 1 && o.rank >= 0 && o.rank < o.world, "sampler: batch ", o.batch, ", rank ", o.rank, " of ",
            o.world);
  MFL_CHECK(!o.once || o.start == 0, "sampler: one pass begins at 0, not at ", o.start);
  if (o.size < 1) throw_error<DataError>("the data set is empty: there is nothing to sample");
}

std::int64_t Sampler::steps_per_epoch() const {
  const std::int64_t global = options_.batch * options_.world;
  return options_.once ? (options_.size + global - 1) / global : std::max<std::int64_t>(1, options_.size / global);
}

// Fisher-Yates.
const std::vector<std::int64_t>& Sampler::permutation(std::uint64_t epoch) {
  if (epoch_ == epoch) return permutation_;
  permutation_.resize(options_.size);
  std::iota(permutation_.begin(), permutation_.end(), 0);
  if (options_.shuffle && !options_.once) {
    Rng rng(options_.seed, Draw::sample_order, epoch);
    for (std::int64_t i = options_.size - 1; i > 0; --i)
      std::swap(permutation_[i], permutation_[rng.below(static_cast<std::uint32_t>(i + 1))]);
  }
  epoch_ = epoch;
  return permutation_;
}

std::uint64_t Sampler::begin(std::uint64_t step) const {
  const auto size = static_cast<std::uint64_t>(options_.size), G = global(), start = options_.start;
  if (options_.once || wraps()) return start + step * G;
  const std::uint64_t left = (size - start % size) / G;   // steps in the epoch where it starts
  if (step < left) return start + step * G;
  const auto steps = static_cast<std::uint64_t>(steps_per_epoch());
  return (start / size + 1 + (step - left) / steps) * size + (step - left) % steps * G;
}

std::vector<Pick> Sampler::picks(std::uint64_t step) {
  const auto size = static_cast<std::uint64_t>(options_.size), first = begin(step) + static_cast<std::uint64_t>(options_.rank * options_.batch);
  std::vector<Pick> picks;
  for (std::uint64_t use = first; use < first + static_cast<std::uint64_t>(options_.batch); ++use)
    if (!options_.once || use < size) picks.push_back({permutation(use / size)[use % size], use / size});
  return picks;
}

}  // namespace mfl::data
