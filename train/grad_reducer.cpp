#include "train/grad_reducer.h"

#include <algorithm>
#include <iomanip>
#include <sstream>

#include "runtime/profile.h"
#include "train/test_hooks.h"

namespace mfl {
namespace {

// A run of frozen parameters shorter than this is sent along, as the zeros that it holds: cheaper than another
// collective.
constexpr std::int64_t kLongFrozenRun = 64 * 1024;  // elements

std::int64_t end_of(const Param& p) { return p.first + p.numel(); }

}  // namespace

GradReducer::GradReducer(const ParamStore& params, Communicator& comm, std::size_t bucket_bytes)
    : params_(params),
      comm_(comm),
      stream_(Stream::create(params.grads().device(), "gradients")),
      bucket_of_(params.all().size(), -1),
      ready_(params.all().size(), 0),
      steps_{Step(params.grads().device()), Step(params.grads().device())} {
  MFL_CHECK(params.grads(), "gradient reducer: the parameter store has no gradients, or is not sealed");
  MFL_CHECK(bucket_bytes > 0, "gradient reducer: a bucket needs more than 0 bytes");
  const Device device = params.grads().device();
  const auto limit = static_cast<std::int64_t>(bucket_bytes / size_of(params.grads().dtype()));
  const auto& all = params.all();
  for (std::size_t i = all.size(); i-- > 0;) {
    const Param& p = all[i];
    if (!p.trainable) continue;
    const bool fits = !buckets_.empty() &&
                      buckets_.back().range.first + buckets_.back().range.count - p.first <= limit &&
                      buckets_.back().range.first - end_of(p) < kLongFrozenRun;
    if (!fits) buckets_.push_back({{p.first, p.numel()}, i, i, 0, 0, Event(device), Event(device)});
    Bucket& b = buckets_.back();
    b.range = {p.first, b.range.first + b.range.count - p.first};
    b.first = i;
    ++b.trainable;
    bucket_of_[i] = static_cast<int>(buckets_.size()) - 1;
  }
}

void GradReducer::begin(bool reduce) {
  active_ = reduce && comm_.size() > 1;
  sent_ = 0;
  sending_ = false;
  if (!active_) return;
  for (Bucket& b : buckets_) b.waiting = b.trainable;
  std::fill(ready_.begin(), ready_.end(), 0);
  ++step_;
  step().host_ms = 0;
  step().joined = false;
}

void GradReducer::ready(const Ctx& cx, ParamRange range) {
  if (!active_) return;
  const auto& all = params_.all();
  const std::int64_t end = range.first + range.count;
  auto p = std::lower_bound(all.begin(), all.end(), range.first,
                            [](const Param& q, std::int64_t at) { return q.first < at; });
  for (; p != all.end() && p->first < end; ++p) {
    const auto i = static_cast<std::size_t>(p - all.begin());
    if (bucket_of_[i] < 0) continue;
    MFL_CHECK(end_of(*p) <= end, "gradient reducer: the range ends inside ", p->name);
    MFL_CHECK(!ready_[i], "gradient reducer: the gradient of ", p->name, " was declared final twice in one backward");
    ready_[i] = 1;
    --buckets_[static_cast<std::size_t>(bucket_of_[i])].waiting;
  }
  while (sent_ < buckets_.size() && buckets_[sent_].waiting == 0) send_next(cx);
}

void GradReducer::send_next(const Ctx& cx) {
  const std::size_t index = sent_;
  Bucket& b = buckets_[index];
  const Range range("gradient bucket");
  test_hooks::hang(comm_.rank(), step_, index + 1);
  cx.stream.record(b.ready);
  stream_.wait(b.ready);
  if (index == 0) stream_.record(step().begun);
  sending_ = true;
  try {
    comm_.all_reduce(stream_, params_.grads().rows(b.range.first, b.range.count), ReduceOp::avg);
  } catch (const CommError& e) {
    throw_error<CommError>(e.what(), "; it was ", describe(index));
  }
  stream_.record(b.done);
  sending_ = false;
  if (stream_.device().is_cpu()) step().host_ms += b.done.milliseconds_since(b.ready);
  ++sent_;
}

void GradReducer::join(const Ctx& cx) {
  if (!active_ || buckets_.empty()) return;
  cx.stream.record(step().reached);
  while (sent_ < buckets_.size()) send_next(cx);
  stream_.record(step().passed);
  cx.stream.wait(step().passed);
  step().joined = true;
  active_ = false;
}

std::int64_t GradReducer::elements() const {
  std::int64_t n = 0;
  for (const Bucket& b : buckets_) n += b.range.count;
  return n;
}

std::string GradReducer::describe(std::size_t bucket) const {
  const Bucket& b = buckets_.at(bucket);
  const double bytes = static_cast<double>(b.range.count) * static_cast<double>(size_of(params_.grads().dtype()));
  std::ostringstream out;
  out << "gradient bucket " << bucket + 1 << " of " << buckets_.size() << " (" << params_.all()[b.last].name << " to "
      << params_.all()[b.first].name << ", " << std::fixed << std::setprecision(1) << bytes / 1e6 << " MB)";
  return out.str();
}

InFlight GradReducer::in_flight() const {
  const std::size_t sent = sent_;
  for (std::size_t i = 0; i < sent && i < buckets_.size(); ++i)
    if (!buckets_[i].done.done()) return {describe(i), buckets_[i].ready.done()};
  return sending_ && sent < buckets_.size() ? InFlight{describe(sent), buckets_[sent].ready.done()} : InFlight{};
}

std::optional<GradReducer::Timing> GradReducer::timing() const {
  for (std::size_t back = 0; back < 2 && back <= step_; ++back) {
    const Step& s = steps_[(step_ - back) % 2];
    if (!s.joined || !s.passed.done() || !s.reached.done()) continue;
    if (stream_.device().is_cpu()) return Timing{s.host_ms, s.host_ms};
    return Timing{s.passed.milliseconds_since(s.begun), std::max(0.0, s.passed.milliseconds_since(s.reached))};
  }
  return std::nullopt;
}

}  // namespace mfl
