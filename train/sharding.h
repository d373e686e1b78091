// Optimizer state divided among the ranks (mfl.shard_optimizer).                   ZeRO stage 1: Rajbhandari et al. 2020, section 5.1
//
//   Of a flat buffer of n elements on R ranks, rank r holds [r q, (r + 1) q), where q is n / R rounded down to a multiple of
//   ParamStore::kAlign; of the fewer than R kAlign elements that are left, every rank holds a copy. Tensors' boundaries do not
//   matter, so all ranks hold the same number of bytes. In memory a rank's part is its share followed by the rest.
//
// Gradients are all-reduced and their norm is taken as ever, so every rank knows the same decision. A rank then updates the
// elements that it holds, by the same operations as it would all of them, and the parameters are gathered: the same bits as
// undivided, for (R - 1) / R of the parameters' bytes more to send an update (half of what the reduction sends).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "runtime/comm/communicator.h"
#include "runtime/io/stored_tensor.h"
#include "runtime/module.h"

namespace mfl {

struct ShardRanks {
  int rank = 0, size = 1;          // size 1: nothing is divided
  Communicator* comm = nullptr;    // of these ranks; null on meta, where nothing is sent
};

// The ranks of a run, if its state is to be divided.
inline ShardRanks shard_ranks(bool divide, Communicator& comm) {
  return divide ? ShardRanks{comm.rank(), comm.size(), &comm} : ShardRanks{};
}

class Sharding {
 public:
  // The store must be sealed. Takes scratch for collect() from the arena where there is more than one rank.
  Sharding(Arena&, const ParamStore&, ShardRanks = {});

  bool divided() const { return ranks_.size > 1; }
  const ShardRanks& ranks() const { return ranks_; }
  std::int64_t held() const { return share_ + rest_; }   // elements of a buffer on this rank
  std::int64_t whole() const { return whole_; }

  // A run of elements of the whole buffer, and where this rank holds it.
  struct Part {
    std::int64_t first, local, count;
  };
  // What this rank holds of elements [first, first + count) of the whole.
  std::vector<Part> parts(std::int64_t first, std::int64_t count) const;
  std::vector<Part> parts() const { return parts(0, whole_); }

  // Collective: a whole buffer of which every rank has its own elements up to date gets those of all.
  void gather(const Stream&, const Tensor& whole) const;
  // Collective: what all ranks hold, brought together in `whole` [whole()], which may be host memory. Where it is absent this rank only sends.
  // Passes through scratch that the stream owns until it is done: one call at a time.
  void collect(const Stream&, const Tensor& held, View whole) const;

  // What this rank holds of a parameter's place in a buffer, from a tensor of a file; not read where that is nothing. Waits.
  void load(const Stream&, const Tensor& held, const Param&, const io::StoredTensor&, std::string_view what) const;

 private:
  ShardRanks ranks_;
  std::int64_t whole_, share_, rest_;
  Tensor scratch_;
};

}  // namespace mfl
