// N ranks in one process: what a multi-process run does, under a debugger and a thread sanitizer.
//
// A collective is: publish my buffers, meet, work on my share of everybody's buffers, meet. Between the two meetings
// share r of every buffer is touched by rank r alone, so nothing is copied and nothing is locked.
#include <condition_variable>
#include <cstring>
#include <mutex>

#include "runtime/comm/rank_order.h"

namespace mfl {
namespace {

// What a rank is about to do. All ranks must be about to do the same.
struct Call {
  const char* op = "";
  std::int64_t count = 0;
  std::string detail = {};  // dtype and reduction, or root
  const void* in = nullptr;
  void* out = nullptr;
  bool matches(const Call& o) const { return !std::strcmp(op, o.op) && count == o.count && detail == o.detail; }
  std::string describe() const { return text(op, " of ", count, detail.empty() ? "" : " ", detail); }
};

struct Group {
  explicit Group(int n) : calls(static_cast<std::size_t>(n)) {}
  std::vector<Call> calls;  // by rank

  std::mutex mutex;
  std::condition_variable changed;
  int waiting = 0;
  std::uint64_t meeting = 0;
  bool aborted = false;
  std::string why;

  void meet(int rank, const char* op) {
    std::unique_lock lock(mutex);
    const auto mine = meeting;
    if (!aborted && ++waiting == static_cast<int>(calls.size())) {
      waiting = 0;
      ++meeting;
      changed.notify_all();
      return;
    }
    changed.wait(lock, [&] { return aborted || meeting != mine; });
    if (meeting == mine) throw_error<CommError>("rank ", rank, ": ", op, " was abandoned: ", why);
  }
  void abort(const std::string& reason) {
    std::lock_guard lock(mutex);
    if (aborted) return;
    aborted = true;
    why = reason;
    changed.notify_all();
  }
};

class ThreadRank final : public Communicator {
 public:
  ThreadRank(std::shared_ptr<Group> g, int rank, int size) : Communicator(rank, size, kCpu), group_(std::move(g)) {}
  const char* name() const override { return "thread"; }
  void abort(const std::string& why, int) noexcept override { group_->abort(why); }
  void check() override {
    std::lock_guard lock(group_->mutex);
    if (group_->aborted) throw_error<CommError>("rank ", rank_, ": the run was abandoned: ", group_->why);
  }

 private:
  // Publishes, meets, checks that all ranks mean the same, works, meets.
  void collective(const Call& mine, const std::function<void(const std::vector<Call>&)>& work) {
    auto& calls = group_->calls;
    calls[static_cast<std::size_t>(rank_)] = mine;
    group_->meet(rank_, mine.op);
    for (std::size_t r = 1; r < calls.size(); ++r)
      if (!calls[r].matches(calls[0])) {
        const std::string why =
            text("rank ", r, " called ", calls[r].describe(), " while rank 0 called ", calls[0].describe());
        group_->abort(why);
        throw_error<CommError>("rank ", rank_, ": ", why);
      }
    work(calls);
    group_->meet(rank_, mine.op);
  }
  static std::string detail(DType t, ReduceOp op) { return text(t, ' ', name_of(op)); }
  std::vector<const void*> inputs(const std::vector<Call>& calls, std::size_t offset) const {
    std::vector<const void*> parts;
    for (const Call& c : calls) parts.push_back(static_cast<const char*>(c.in) + offset);
    return parts;
  }

  void do_all_reduce(const Stream&, void* inout, std::int64_t count, DType t, ReduceOp op) override {
    collective({"all_reduce", count, detail(t, op), inout, inout}, [&](const std::vector<Call>& calls) {
      const Share share = share_of(count, rank_, size_);
      const std::size_t offset = static_cast<std::size_t>(share.first) * size_of(t);
      const std::size_t bytes = static_cast<std::size_t>(share.count) * size_of(t);
      const auto parts = inputs(calls, offset);
      char* mine = static_cast<char*>(inout) + offset;
      reduce_in_rank_order(t, op, parts, mine, share.count);
      for (const Call& c : calls)
        if (c.out != inout) std::memcpy(static_cast<char*>(c.out) + offset, mine, bytes);
    });
  }
  void do_reduce_scatter(const Stream&, const void* in, void* out, std::int64_t count, DType t, ReduceOp op) override {
    collective({"reduce_scatter", count, detail(t, op), in, out}, [&](const std::vector<Call>& calls) {
      const auto parts = inputs(calls, static_cast<std::size_t>(count) * size_of(t) * static_cast<std::size_t>(rank_));
      reduce_in_rank_order(t, op, parts, out, count);
    });
  }
  void do_all_gather(const Stream&, const void* in, void* out, std::size_t bytes) override {
    gather_bytes("all_gather", in, out, bytes);
  }
  void do_exchange(const void* mine, void* all, std::size_t bytes) override { gather_bytes("exchange", mine, all, bytes); }
  void gather_bytes(const char* op, const void* in, void* out, std::size_t bytes) {
    collective({op, static_cast<std::int64_t>(bytes), "bytes", in, out}, [&](const std::vector<Call>& calls) {
      for (const Call& c : calls) {
        char* slot = static_cast<char*>(c.out) + bytes * static_cast<std::size_t>(rank_);
        if (slot != in) std::memcpy(slot, in, bytes);
      }
    });
  }
  void do_broadcast(const Stream&, void* inout, std::size_t bytes, int root) override {
    collective({"broadcast", static_cast<std::int64_t>(bytes), text("bytes from rank ", root), inout, inout},
               [&](const std::vector<Call>& calls) {
                 if (rank_ != root) std::memcpy(inout, calls[static_cast<std::size_t>(root)].in, bytes);
               });
  }

  std::shared_ptr<Group> group_;
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> make_thread_ranks(int n) {
  MFL_CHECK(n >= 1, "thread ranks: at least one, got ", n);
  auto group = std::make_shared<Group>(n);
  std::vector<std::unique_ptr<Communicator>> ranks;
  for (int r = 0; r < n; ++r) ranks.push_back(std::make_unique<ThreadRank>(group, r, n));
  return ranks;
}

}  // namespace mfl
