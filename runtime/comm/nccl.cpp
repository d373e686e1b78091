// Ranks over NCCL: collectives on CUDA memory, enqueued on the caller's stream. The control plane is the host
// communicator that brought the ranks together.
#include <nccl.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <mutex>

#include "runtime/comm/communicator.h"
#include "runtime/cuda_check.h"
#include "runtime/log.h"

namespace mfl {
namespace {

cudaStream_t native(const Stream& s) { return static_cast<cudaStream_t>(s.native()); }

ncclDataType_t type_of(DType t) {
  switch (t) {
    case DType::f64:
      return ncclFloat64;
    case DType::f32:
      return ncclFloat32;
    case DType::bf16:
      return ncclBfloat16;
    case DType::i64:
      return ncclInt64;
    case DType::i32:
      return ncclInt32;
    case DType::u8:
      return ncclUint8;
    case DType::f16:
      break;
  }
  throw_error<CommError>("NCCL: a reduction of ", t, " is not defined here");
}
ncclRedOp_t op_of(ReduceOp op) {
  switch (op) {
    case ReduceOp::sum:
      return ncclSum;
    case ReduceOp::avg:
      return ncclAvg;
    case ReduceOp::min:
      return ncclMin;
    case ReduceOp::max:
      return ncclMax;
  }
  return ncclSum;
}

class Nccl final : public Communicator {
 public:
  Nccl(std::unique_ptr<Communicator> host, Device device)
      : Communicator(host->rank(), host->size(), device), control_(std::move(host)) {
    local_rank_ = control_->local_rank();
    local_size_ = control_->local_size();
    host_ = control_->host();
    // NVLink SHARP lets the switch add. Which order it adds in is not ours to fix, and its multicast set-up fails where
    // a container or a virtual machine does not pass it through. Whoever wants the switch sets the variable.
    ::setenv("NCCL_NVLS_ENABLE", "0", 0);
    MFL_CUDA(cudaSetDevice(device_.index));
    refuse_shared_gpu();
    ncclUniqueId id{};
    if (rank_ == 0) ok(ncclGetUniqueId(&id), "ncclGetUniqueId");
    const std::string bytes = control_->broadcast_text(std::string(id.internal, sizeof(id.internal)), 0);
    bytes.copy(id.internal, sizeof(id.internal));
    ok(ncclCommInitRank(&comm_, size_, id, rank_), "ncclCommInitRank");
    int version = 0;
    ok(ncclGetVersion(&version), "ncclGetVersion");
    log_debug("NCCL ", version / 10000, '.', version / 100 % 100, '.', version % 100, ", ", size_, " ranks");
  }
  ~Nccl() override {
    std::lock_guard lock(mutex_);
    if (!comm_) return;
    // While an exception unwinds, the other ranks are not here to take leave of.
    if (std::uncaught_exceptions() > 0)
      (void)ncclCommAbort(comm_);
    else
      (void)ncclCommDestroy(comm_);
  }
  const char* name() const override { return "nccl"; }

  void check() override {
    control_->check();
    std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) return;  // a collective is being enqueued right now and will report for itself
    if (!comm_) throw_error<CommError>("rank ", rank_, ": the run was abandoned: ", why_);
    ncclResult_t background = ncclSuccess;
    ok(ncclCommGetAsyncError(comm_, &background), "ncclCommGetAsyncError");
    ok(background, "a collective in the background");
  }
  void abort(const std::string& why, int exit_code) noexcept override {
    {
      // A rank can also be stuck inside a call of NCCL, which then holds the lock; the host's abort must happen anyway.
      std::unique_lock lock(mutex_, std::chrono::seconds(5));
      if (lock && comm_) {
        why_ = why;
        // Ends the kernels that wait for the other ranks, so that a blocked stream drains.
        (void)ncclCommAbort(comm_);
        comm_ = nullptr;
      }
    }
    control_->abort(why, exit_code);
  }

 private:
  void ok(ncclResult_t status, const char* call) const {
    if (status == ncclSuccess || status == ncclInProgress) return;
    const char* detail = comm_ ? ncclGetLastError(comm_) : ncclGetLastError(nullptr);
    throw_error<CommError>("rank ", rank_, " on ", device_, ": ", call, " failed: ", ncclGetErrorString(status),
                           detail && *detail ? text(" (", detail, ")") : std::string(), "; NCCL_DEBUG=WARN says more");
  }
  // NCCL's own words for this are "invalid usage".
  void refuse_shared_gpu() {
    struct Place {
      std::array<char, 32> bus;
      int host;
    };
    Place mine{{}, host_};
    MFL_CUDA(cudaDeviceGetPCIBusId(mine.bus.data(), static_cast<int>(mine.bus.size()), device_.index));
    const auto all = control_->gather(mine);
    for (std::size_t a = 0; a < all.size(); ++a)
      for (std::size_t b = a + 1; b < all.size(); ++b)
        if (all[a].bus == all[b].bus && all[a].host == all[b].host)
          throw_error<ConfigError>(
              "ranks ", a, " and ", b, " would share the GPU at ", all[a].bus.data(),
              "; start one rank a GPU (mpirun -np N with N visible GPUs, or srun --gpus-per-task=1)");
  }

  template <class F>
  void enqueue(const char* call, F&& f) {
    std::lock_guard lock(mutex_);
    if (!comm_) throw_error<CommError>("rank ", rank_, ": ", call, " was abandoned: ", why_);
    ok(f(comm_), call);
  }
  void do_all_reduce(const Stream& s, void* inout, std::int64_t count, DType t, ReduceOp op) override {
    enqueue("ncclAllReduce", [&](ncclComm_t c) {
      return ncclAllReduce(inout, inout, static_cast<std::size_t>(count), type_of(t), op_of(op), c, native(s));
    });
  }
  void do_reduce_scatter(const Stream& s, const void* in, void* out, std::int64_t count, DType t,
                         ReduceOp op) override {
    enqueue("ncclReduceScatter", [&](ncclComm_t c) {
      return ncclReduceScatter(in, out, static_cast<std::size_t>(count), type_of(t), op_of(op), c, native(s));
    });
  }
  void do_all_gather(const Stream& s, const void* in, void* out, std::size_t bytes) override {
    enqueue("ncclAllGather", [&](ncclComm_t c) { return ncclAllGather(in, out, bytes, ncclUint8, c, native(s)); });
  }
  void do_broadcast(const Stream& s, void* inout, std::size_t bytes, int root) override {
    enqueue("ncclBroadcast",
            [&](ncclComm_t c) { return ncclBroadcast(inout, inout, bytes, ncclUint8, root, c, native(s)); });
  }
  void do_exchange(const void* mine, void* all, std::size_t bytes) override { exchange_over(*control_, mine, all, bytes); }

  std::unique_ptr<Communicator> control_;
  std::timed_mutex mutex_;  // comm_ goes when the watchdog aborts
  ncclComm_t comm_ = nullptr;
  std::string why_;
};

}  // namespace

std::unique_ptr<Communicator> make_nccl(std::unique_ptr<Communicator> host, Device device) {
  return std::make_unique<Nccl>(std::move(host), device);
}

}  // namespace mfl
