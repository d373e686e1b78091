// Ranks over MPI, host memory.
//
// MPI_Allreduce may add in any order and may choose another order for another size, so reductions are built from data
// movement alone: every rank receives its share of all ranks' elements (all-to-all), adds them in rank order, and the
// shares are gathered. That moves 2 (N-1)/N of the buffer per rank, as the best all-reduce does.
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <thread>

#include "runtime/comm/rank_order.h"
#include "runtime/log.h"

namespace mfl {
namespace {

// Bytes per round: bounds the scratch, and keeps counts far below MPI's int.
constexpr std::size_t kRound = std::size_t{16} << 20;

class Mpi final : public Communicator {
 public:
  Mpi() : Communicator(0, 1, kCpu) {
    int started = 0;
    MPI_Initialized(&started);
    // The watchdog aborts from its own thread.
    int level = MPI_THREAD_MULTIPLE;
    if (!started) MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &level);
    if (level < MPI_THREAD_MULTIPLE)
      log_debug("MPI offers thread level ", level, "; a stalled rank may end without its message");
    owner_ = !started;
    // Our own communicator: nobody else's messages, and errors as return values.
    MPI_Comm_dup(MPI_COMM_WORLD, &comm_);
    MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
    MPI_Comm_rank(comm_, &rank_);
    MPI_Comm_size(comm_, &size_);
    find_local_ranks();
  }
  ~Mpi() override {
    // While an exception unwinds, the other ranks are not here to finalise with; run_rank aborts, or the launcher does.
    if (std::uncaught_exceptions() > 0) return;
    MPI_Comm_free(&comm_);
    if (owner_) MPI_Finalize();
  }
  const char* name() const override { return "mpi"; }
  void abort(const std::string&, int exit_code) noexcept override {
    // MPI asks the launcher, and waits for its answer; a host that was cut off never gets one.
    std::thread([exit_code] {
      std::this_thread::sleep_for(std::chrono::seconds(10));
      std::_Exit(exit_code);
    }).detach();
    MPI_Abort(comm_, exit_code);
    std::_Exit(exit_code);
  }

 private:
  void ok(int status, const char* call, const char* op) const {
    if (status == MPI_SUCCESS) return;
    char words[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(status, words, &length);
    throw_error<CommError>("rank ", rank_, ": ", call, " in ", op, " failed: ", words);
  }

  void do_all_reduce(const Stream&, void* inout, std::int64_t count, DType t, ReduceOp op) override {
    const std::int64_t round = static_cast<std::int64_t>(kRound / size_of(t));
    for (std::int64_t at = 0; at < count; at += round)
      all_reduce_round(static_cast<char*>(inout) + static_cast<std::size_t>(at) * size_of(t),
                       std::min(round, count - at), t, op);
  }
  void all_reduce_round(char* inout, std::int64_t count, DType t, ReduceOp op) {
    const auto n = static_cast<std::size_t>(size_);
    const auto item = static_cast<std::int64_t>(size_of(t));
    const Share mine = share_of(count, rank_, size_);
    const int my_bytes = static_cast<int>(mine.count * item);
    std::vector<int> bytes(n), offsets(n), in_bytes(n, my_bytes), in_offsets(n);
    for (int r = 0; r < size_; ++r) {
      const Share s = share_of(count, r, size_);
      bytes[static_cast<std::size_t>(r)] = static_cast<int>(s.count * item);
      offsets[static_cast<std::size_t>(r)] = static_cast<int>(s.first * item);
      in_offsets[static_cast<std::size_t>(r)] = r * my_bytes;
    }
    scratch_.resize(n * static_cast<std::size_t>(my_bytes));
    ok(MPI_Alltoallv(inout, bytes.data(), offsets.data(), MPI_BYTE, scratch_.data(), in_bytes.data(), in_offsets.data(),
                     MPI_BYTE, comm_),
       "MPI_Alltoallv", "all_reduce");
    add_scratch(t, op, inout + mine.first * item, mine.count);
    ok(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_BYTE, inout, bytes.data(), offsets.data(), MPI_BYTE, comm_),
       "MPI_Allgatherv", "all_reduce");
  }
  // scratch_ holds `count` elements of every rank.
  void add_scratch(DType t, ReduceOp op, void* out, std::int64_t count) {
    std::vector<const void*> parts;
    for (int r = 0; r < size_; ++r)
      parts.push_back(scratch_.data() + static_cast<std::size_t>(r) * static_cast<std::size_t>(count) * size_of(t));
    reduce_in_rank_order(t, op, parts, out, count);
  }

  void do_reduce_scatter(const Stream&, const void* in, void* out, std::int64_t count, DType t, ReduceOp op) override {
    const auto n = static_cast<std::size_t>(size_);
    const auto item = static_cast<std::int64_t>(size_of(t));
    const std::int64_t round = std::max<std::int64_t>(1, static_cast<std::int64_t>(kRound) / item / size_);
    for (std::int64_t at = 0; at < count; at += round) {
      const std::int64_t some = std::min(round, count - at);
      const int bytes = static_cast<int>(some * item);
      // Rank r's part of this round starts at element r count + at.
      send_.resize(n * static_cast<std::size_t>(bytes));
      scratch_.resize(send_.size());
      for (int r = 0; r < size_; ++r)
        std::copy_n(static_cast<const char*>(in) + (r * count + at) * item, bytes,
                    send_.data() + std::size_t(r) * std::size_t(bytes));
      ok(MPI_Alltoall(send_.data(), bytes, MPI_BYTE, scratch_.data(), bytes, MPI_BYTE, comm_), "MPI_Alltoall",
         "reduce_scatter");
      add_scratch(t, op, static_cast<char*>(out) + at * item, some);
    }
  }
  void do_all_gather(const Stream&, const void* in, void* out, std::size_t bytes) override {
    gather_bytes("all_gather", in, out, bytes);
  }
  void do_exchange(const void* mine, void* all, std::size_t bytes) override { gather_bytes("exchange", mine, all, bytes); }
  void gather_bytes(const char* op, const void* in, void* out, std::size_t bytes) {
    char* to = static_cast<char*>(out);
    const char* from = static_cast<const char*>(in);
    const std::size_t own = static_cast<std::size_t>(rank_) * bytes;
    if (bytes * static_cast<std::size_t>(size_) <= kRound) {
      if (to + own != from) std::copy_n(from, bytes, to + own);
      ok(MPI_Allgather(MPI_IN_PLACE, 0, MPI_BYTE, to, static_cast<int>(bytes), MPI_BYTE, comm_), "MPI_Allgather", op);
      return;
    }
    // Rounds are strided in `out`: each rank in turn sends its block.
    if (to + own != from) std::copy_n(from, bytes, to + own);
    for (int r = 0; r < size_; ++r) broadcast_bytes(op, to + static_cast<std::size_t>(r) * bytes, bytes, r);
  }
  void do_broadcast(const Stream&, void* inout, std::size_t bytes, int root) override {
    broadcast_bytes("broadcast", static_cast<char*>(inout), bytes, root);
  }
  void broadcast_bytes(const char* op, char* inout, std::size_t bytes, int root) {
    for (std::size_t at = 0; at < bytes; at += kRound)
      ok(MPI_Bcast(inout + at, static_cast<int>(std::min(kRound, bytes - at)), MPI_BYTE, root, comm_), "MPI_Bcast", op);
  }

  MPI_Comm comm_ = MPI_COMM_NULL;
  bool owner_ = false;
  std::vector<char> scratch_, send_;
};

}  // namespace

std::unique_ptr<Communicator> make_mpi() { return std::make_unique<Mpi>(); }

}  // namespace mfl
