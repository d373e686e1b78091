// Communicator: the ranks of a data-parallel run and what they do together. One class, five implementations:
//
//   single   one rank: reductions leave the data as it is
//   thread   N ranks in one process, for tests; host memory
//   mpi      OpenMPI; host memory
//   file     ranks that share a folder (srun without MPI); host memory, meant for start-up and flags
//   nccl     CUDA memory; rendezvous and control plane over mpi or file
//
// Two planes. *Collectives* take views and a stream: on CUDA they are enqueued on it and the host does not wait; on the
// CPU they run at once. The *control plane* takes host values and returns when every rank has taken part; it never
// touches the device, so that asking all ranks for a flag once a step costs no device synchronisation.
//
// Order: every rank calls the same collectives with the same sizes in the same order, from one thread. A call that does
// not match is reported by the thread ranks, and ends in the watchdog's CommError elsewhere.
//
// Determinism: host implementations add in rank order, one precision up (f64 for f32 and f64, f32 for bf16), and every
// element is summed by one rank, so the result has the same bits on every rank and for every implementation. NCCL has a
// fixed order for one machine and one number of ranks.
//
// Errors: CommError naming the rank and the call. After one, no further call is possible; see run_rank.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <vector>

#include "runtime/stream.h"

namespace mfl {

enum class ReduceOp : std::uint8_t { sum, avg, min, max };
const char* name_of(ReduceOp);

class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  // Ranks on this host, in rank order; a rank's GPU is local_rank when the host's GPUs are visible to all its ranks.
  int local_rank() const { return local_rank_; }
  int local_size() const { return local_size_; }
  int host() const { return host_; }  // the first rank on this rank's host; stands for the host
  // Where this rank's collectives work, and where its model belongs.
  Device device() const { return device_; }
  virtual const char* name() const = 0;

  // ---- collectives; contiguous views on device(); f64, f32, bf16, i64, i32, u8. `avg` needs a floating type ----
  void all_reduce(const Stream&, View inout, ReduceOp);
  // in [size * n] -> out [n]: rank r receives the reduced elements [r n, (r + 1) n).
  void reduce_scatter(const Stream&, ConstView in, View out, ReduceOp);
  // in [n] -> out [size * n], in rank order. `in` may be its own place inside `out`.
  void all_gather(const Stream&, ConstView in, View out);
  void broadcast(const Stream&, View inout, int root);

  // ---- control plane; host values, blocking ----
  void barrier();
  // One value of every rank, in rank order.
  template <class T>
  std::vector<T> gather(const T& mine) {
    static_assert(std::is_trivially_copyable_v<T> && !std::is_same_v<T, bool>);
    std::vector<T> all(static_cast<std::size_t>(size_));
    exchange(&mine, all.data(), sizeof(T));
    return all;
  }
  std::vector<std::string> gather_text(const std::string& mine);
  std::string broadcast_text(const std::string& text, int root);  // the text of `root`, on every rank
  bool any(bool mine);  // true on one rank at least; the same answer on every rank
  bool all(bool mine);

  // Where this rank stands in the order of calls, control plane included: matching calls have the same number on every rank. From
  // any thread.
  struct Progress {
    std::uint64_t begun = 0;  // calls so far
    bool inside = false;      // the host is inside the last of them
    const char* call = "";    // its name
    std::size_t bytes = 0;    // and size
  };
  Progress progress() const;

  // Throws CommError if a collective has failed in the background or another rank has aborted. Cheap; from any thread.
  virtual void check() {}
  // Ends the run: no rank is left hanging. Waiting ranks throw CommError with `why` (thread, file, nccl); under MPI all
  // processes end with `exit_code` and this call does not return. From any thread.
  virtual void abort(const std::string& why, int exit_code = kExitComm) noexcept = 0;

 protected:
  Communicator(int rank, int size, Device device)
      : rank_(rank), size_(size), local_rank_(rank), local_size_(size), device_(device) {}
  // Fills local_rank, local_size and host from the host names of all ranks.
  void find_local_ranks();
  static void exchange_over(Communicator& c, const void* mine, void* all, std::size_t bytes) {
    c.exchange(mine, all, bytes);
  }

  // Arguments are checked. Counts are per rank where the public call says [n].
  virtual void do_all_reduce(const Stream&, void* inout, std::int64_t count, DType, ReduceOp) = 0;
  virtual void do_reduce_scatter(const Stream&, const void* in, void* out, std::int64_t count, DType, ReduceOp) = 0;
  virtual void do_all_gather(const Stream&, const void* in, void* out, std::size_t bytes) = 0;
  virtual void do_broadcast(const Stream&, void* inout, std::size_t bytes, int root) = 0;
  // Host bytes of every rank, in rank order, into all [size * bytes].
  virtual void do_exchange(const void* mine, void* all, std::size_t bytes) = 0;
  void exchange(const void* mine, void* all, std::size_t bytes);

  int rank_, size_, local_rank_, local_size_, host_ = 0;
  Device device_;

 private:
  // Counts a call while it runs.
  class Inside {
   public:
    Inside(Communicator&, const char* call, std::size_t bytes);
    ~Inside();

   private:
    Communicator& comm_;
  };
  mutable std::mutex progress_mutex_;
  Progress progress_;
};

// The communicator of this process for the wanted kind of device; single when nothing says otherwise.
//
// Rank and size, from the first pair that is set: MFL_RANK and MFL_WORLD_SIZE; OMPI_COMM_WORLD_RANK and _SIZE (mpirun);
// PMI_RANK and PMI_SIZE (srun --mpi=pmi2); SLURM_PROCID and SLURM_STEP_NUM_TASKS (srun); PMIX_RANK, where MPI knows the
// size. Without any, there is one rank and MPI is not started; but SLURM_NTASKS above 1 is refused: srun was left out.
// Rendezvous: the folder MFL_RENDEZVOUS, seen by all ranks and empty at the start of a run, if set; else MPI.
//
// CPU: mpi or file. CUDA: one rank takes `wanted.index`; several take the GPU of their local rank (or the only visible
// one) and NCCL. Throws ConfigError with the numbers: MPI and launcher disagree, more ranks than GPUs on a host, two
// ranks on one GPU, several ranks without a rendezvous.
std::unique_ptr<Communicator> make_communicator(Device wanted);

// N ranks in this process. Host memory; rank i is used by one thread.
std::vector<std::unique_ptr<Communicator>> make_thread_ranks(int n);

std::unique_ptr<Communicator> make_single(Device);
std::unique_ptr<Communicator> make_mpi();
std::unique_ptr<Communicator> make_file(const std::string& folder, int rank, int size);
// Collectives over NCCL on `device`, control plane over `host`.
std::unique_ptr<Communicator> make_nccl(std::unique_ptr<Communicator> host, Device device);

// What a program's main does with its rank: runs the body; if it throws, logs the sentence with the rank, aborts every
// other rank and returns the exit code of the error.
int run_rank(Communicator&, const std::function<int()>& body) noexcept;

}  // namespace mfl
