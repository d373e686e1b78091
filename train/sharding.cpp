#include "train/sharding.h"

#include <algorithm>

#include "models/weights/coverage.h"

namespace mfl {
namespace {

// Of all ranks' pieces together: long enough for a link's full rate.
constexpr std::size_t kScratchBytes = std::size_t{16} << 20;

}  // namespace

Sharding::Sharding(Arena& arena, const ParamStore& store, ShardRanks ranks)
    : ranks_(ranks), whole_(store.flat_numel()), share_(whole_ / ranks.size / ParamStore::kAlign * ParamStore::kAlign),
      rest_(whole_ - share_ * ranks.size) {
  MFL_CHECK(ranks.size >= 1 && ranks.rank >= 0 && ranks.rank < ranks.size, "sharding: rank ", ranks.rank, " of ", ranks.size);
  MFL_CHECK(!divided() || ranks.comm || arena.device().is_meta(), "sharding over ", ranks.size, " ranks needs their communicator");
  if (!divided() || share_ == 0) return;
  const DType type = store.precision().accum;
  const auto most = static_cast<std::int64_t>(kScratchBytes / size_of(type)) / ranks.size;
  scratch_ = arena.empty({ranks.size, std::min(share_, std::max<std::int64_t>(most, 1))}, type, {"collection of shards"});
}

std::vector<Sharding::Part> Sharding::parts(std::int64_t first, std::int64_t count) const {
  std::vector<Part> all;
  auto add = [&](std::int64_t begin, std::int64_t length, std::int64_t local) {
    const std::int64_t from = std::max(begin, first), to = std::min(begin + length, first + count);
    if (from < to) all.push_back({from, local + from - begin, to - from});
  };
  add(ranks_.rank * share_, share_, 0);
  add(ranks_.size * share_, rest_, share_);
  return all;
}

void Sharding::gather(const Stream& s, const Tensor& whole) const {
  if (!ranks_.comm || !divided() || share_ == 0) return;
  ranks_.comm->all_gather(s, whole.rows(ranks_.rank * share_, share_), whole.rows(0, ranks_.size * share_));
}

void Sharding::collect(const Stream& s, const Tensor& held, View whole) const {
  const std::size_t item = size_of(held.dtype());
  MFL_CHECK(held.numel() == this->held() && (!whole || whole.numel() == whole_), "sharding: ", held.shape(), " held of ", whole.shape,
            ", expected ", this->held(), " of ", whole_);
  // Elements [from, from + count) of a buffer to `first` of the whole.
  auto put = [&](const Tensor& buffer, std::int64_t from, std::int64_t count, std::int64_t first) {
    if (count > 0)
      copy(s, buffer.rows(from, count),
           make_view(static_cast<char*>(whole.data) + static_cast<std::size_t>(first) * item, {count}, held.dtype(), whole.device));
  };
  if (!divided()) {
    if (whole) put(held, 0, whole_, 0);
    return;
  }
  const std::int64_t most = scratch_ ? scratch_.shape()[1] : 0;
  const Tensor scratch = scratch_ ? scratch_.reshape({scratch_.numel()}) : Tensor{};
  for (std::int64_t at = 0; at < share_; at += most) {
    const std::int64_t n = std::min(most, share_ - at);
    const Tensor own = scratch.rows(ranks_.rank * n, n);   // what is sent may lie on the host (mfl.offload)
    copy(s, held.rows(at, n), own);
    if (ranks_.comm) ranks_.comm->all_gather(s, own, scratch.rows(0, ranks_.size * n));
    for (int r = 0; whole && r < ranks_.size; ++r) put(scratch, r * n, n, r * share_ + at);
  }
  if (whole) put(held, share_, rest_, ranks_.size * share_);
}

void Sharding::load(const Stream& s, const Tensor& held, const Param& p, const io::StoredTensor& t, std::string_view what) const {
  if (!divided()) return weights::load_parameter(s, weights::slice_of(held, p), t, what);
  const std::vector<Part> mine = parts(p.first, p.numel());
  if (mine.empty()) return;
  Param on_host = p;
  on_host.value = Tensor::on_heap(p.memory_shape(), held.dtype());
  weights::load_parameter(s, on_host, t, what);
  const Tensor flat = on_host.value.reshape({p.numel()});
  for (const Part& m : mine) copy(s, flat.rows(m.first - p.first, m.count), held.rows(m.local, m.count));
  s.synchronize();
}

}  // namespace mfl
