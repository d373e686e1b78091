#include "data/sampler.h"

#include <algorithm>
#include <numeric>

#include "runtime/error.h"
#include "runtime/rng.h"

namespace mfl::data {

Sampler::Sampler(SamplerOptions o) : options_(o) {
  MFL_CHECK(o.batch >= 1 && o.world >= 1 && o.rank >= 0 && o.rank < o.world, "sampler: batch ", o.batch, ", rank ", o.rank, " of ",
            o.world);
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

std::vector<Pick> Sampler::picks(std::uint64_t step) {
  const auto& o = options_;
  const std::uint64_t size = o.size, global = o.batch * o.world, steps = steps_per_epoch();
  const std::uint64_t epoch = o.once ? 0 : step / steps, first = (o.once ? step : step % steps) * global + o.rank * o.batch;
  std::vector<Pick> picks;
  for (std::uint64_t j = first; j < first + o.batch; ++j) {
    if (wraps()) {   // entry j of the step is use epoch * global + j of the set as a whole
      const std::uint64_t use = epoch * global + j;
      picks.push_back({permutation(use / size)[use % size], use / size});
    } else if (j < size) {
      picks.push_back({permutation(epoch)[j], epoch});
    }
  }
  return picks;
}

}  // namespace mfl::data
