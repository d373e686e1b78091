#include "train/rank_times.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "train/test_hooks.h"

namespace mfl {

RankTimes::RankTimes(Communicator& comm, int micro_batches, double factor)
    : rank_(comm.rank()), size_(comm.size()), factor_(factor), rows_(std::size_t(size_)) {
  if (size_ == 1) return;
  char host[256] = {};
  if (::gethostname(host, sizeof host - 1) != 0) host[0] = '?';
  hosts_ = comm.gather_text(host);
  const Device d = comm.device();
  for (int i = 0; i < 2; ++i) {
    Slot s{.begun = {}, .ended = {}, .mine = Tensor::pinned({places()}, DType::f32, {"times of ranks"}),
           .all = Tensor::pinned({places()}, DType::f32, {"times of ranks"}), .copied = Event(d)};
    for (int m = 0; m < micro_batches; ++m) s.begun.emplace_back(d), s.ended.emplace_back(d);
    slots_.push_back(std::move(s));
  }
}
RankTimes::~RankTimes() {
  for (Slot& s : slots_) s.copied.synchronize();
}

void RankTimes::begin(const Stream& stream, bool first, double waited_for_data) {
  if (size_ == 1) return;
  if (first) {
    at_ ^= 1;
    collect(slots_[at_]);
  }
  Slot& s = slots_[at_];
  s.waited += waited_for_data;
  stream.record(s.begun[s.count]);
}

void RankTimes::end(const Stream& stream) {
  if (size_ == 1) return;
  test_hooks::delay(rank_);
  Slot& s = slots_[at_];
  stream.record(s.ended[s.count++]);
}

// Reads the events of the update before the last: it has completed, since its results were read.
void RankTimes::collect(Slot& s) {
  if (s.count > 0 && s.ended[s.count - 1].done()) {
    double ms = 0;
    for (std::size_t m = 0; m < s.count; ++m) ms += s.ended[m].milliseconds_since(s.begun[m]);
    own_ = std::max(0.0, ms * 1e-3 - s.in_collectives);
    waited_ = s.waited;
  }
  s.count = 0, s.waited = s.in_collectives = 0;
}

void RankTimes::put(const Stream& stream, View to, double in_collectives) {
  if (size_ == 1) return;
  Slot& s = slots_[at_];
  s.in_collectives = in_collectives;
  float* mine = s.mine.data<float>();
  std::fill_n(mine, places(), 0.0f);
  mine[rank_] = float(own_ * size_);   // averaged over ranks, others add zeros
  mine[size_ + rank_] = float(waited_ * size_);
  copy(stream, s.mine, to);
}

void RankTimes::request(const Stream& stream, ConstView from) {
  if (size_ == 1) return;
  Slot& s = slots_[at_];
  copy(stream, from, s.all);
  stream.record(s.copied);
  requested_ = at_;
}

std::optional<SlowRank> RankTimes::take() {
  if (size_ == 1) return std::nullopt;
  const Slot& s = slots_[requested_];
  s.copied.synchronize();
  const float* all = s.all.data<float>();
  const auto n = std::size_t(size_);
  const std::vector<double> own(all, all + n), wait(all + n, all + 2 * n);
  if (*std::min_element(own.begin(), own.end()) <= 0) return std::nullopt;   // the first updates: nobody has a time yet
  sum_.own.resize(n), sum_.data_wait.resize(n);
  for (std::size_t r = 0; r < n; ++r) sum_.own[r] += own[r], sum_.data_wait[r] += wait[r];
  ++updates_;
  return factor_ > 0 ? judge(own, wait) : std::nullopt;
}

std::optional<SlowRank> RankTimes::judge(const std::vector<double>& own, const std::vector<double>& wait) {
  std::vector<double> all(own.size());
  for (std::size_t r = 0; r < own.size(); ++r) all[r] = own[r] + wait[r];
  std::vector<double> sorted = all;
  const auto middle = sorted.begin() + std::ptrdiff_t((sorted.size() - 1) / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  std::optional<SlowRank> slowest;
  for (std::size_t r = 0; r < all.size(); ++r) {
    Row& row = rows_[r];
    if (row.quiet > 0) --row.quiet;
    if (all[r] <= factor_ * *middle) {
      row = {};
      continue;
    }
    ++row.updates, row.all += all[r], row.wait += wait[r], row.median += *middle;
    if (row.updates < kRow) continue;
    const double k = double(row.updates);
    const SlowRank found{int(r), hosts_[r], row.all / k, row.wait / k, row.median / k};
    const bool said = row.quiet > 0;
    row = {.quiet = said ? row.quiet : kQuiet};
    if (!said && (!slowest || found.seconds > slowest->seconds)) slowest = found;
  }
  return slowest;
}

RankSeconds RankTimes::mean() {
  RankSeconds m = std::exchange(sum_, {});
  const double k = double(std::exchange(updates_, 0));
  for (std::vector<double>* v : {&m.own, &m.data_wait})
    for (double& x : *v) x /= k;
  return m;
}

}  // namespace mfl
