// Ranks that share a folder: the control plane of a run that was started without MPI (srun, or by hand), and a correct
// if slow communicator for host data.
//
// Every call has a number. Rank r writes `<call>.<r>` under another name and renames it, so that a file that exists is
// complete; then it waits for the files of all ranks. Whoever has finished call k knows that all ranks have finished
// call k - 1, so each rank then removes its file of call k - 1; those of the last call stay. A rank that aborts writes
// `abort`.
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "runtime/comm/rank_order.h"

namespace mfl {
namespace fs = std::filesystem;
namespace {

class File final : public Communicator {
 public:
  File(fs::path folder, int rank, int size) : Communicator(rank, size, kCpu), folder_(std::move(folder)) {
    std::error_code failed;
    fs::create_directories(folder_, failed);
    if (!fs::is_directory(folder_))
      throw_error<ConfigError>("MFL_RENDEZVOUS: the folder ", folder_, " cannot be made: ", failed.message());
    for (const auto& entry : fs::directory_iterator(folder_))
      if (entry.path().extension() == text('.', rank_) || entry.path().filename() == "abort")
        throw_error<ConfigError>("MFL_RENDEZVOUS: the folder ", folder_, " was used by an earlier run (it has ",
                                 entry.path().filename(), "); give each run an empty one");
    find_local_ranks();
  }
  const char* name() const override { return "file"; }
  void check() override {
    std::error_code ignored;
    if (!fs::exists(folder_ / "abort", ignored)) return;
    std::ifstream in(folder_ / "abort");
    std::string why((std::istreambuf_iterator<char>(in)), {});
    throw_error<CommError>("rank ", rank_, ": the run was abandoned: ", why);
  }
  void abort(const std::string& why, int) noexcept override {
    try {
      write(folder_ / text("abort.", rank_), why.data(), why.size());
      fs::rename(folder_ / text("abort.", rank_), folder_ / "abort");
    } catch (...) {  // the folder is gone: there is nobody left to tell
    }
  }

 private:
  fs::path path(std::uint64_t call, int rank) const { return folder_ / text(call, '.', rank); }
  void write(const fs::path& to, const void* data, std::size_t bytes) const {
    std::ofstream out(to, std::ios::binary);
    out.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
    out.close();
    if (!out) throw_error<CommError>("rank ", rank_, ": cannot write ", to, ": ", std::strerror(errno));
  }
  // The bytes of rank r in this call; waits for them.
  void read(std::uint64_t call, int r, void* into, std::size_t bytes) {
    const fs::path from = path(call, r);
    std::error_code failed;
    for (int wait = 0; !fs::exists(from, failed); ++wait) {
      if (wait % 256 == 255) check();
      std::this_thread::sleep_for(std::chrono::microseconds(wait < 100 ? 50 : 1000));
    }
    std::ifstream in(from, std::ios::binary);
    in.read(static_cast<char*>(into), static_cast<std::streamsize>(bytes));
    if (static_cast<std::size_t>(in.gcount()) != bytes || in.peek() != EOF)
      throw_error<CommError>("rank ", rank_, ": call ", call, ": rank ", r, " sent another number of bytes than the ",
                             bytes, " expected; the ranks are not making the same calls");
  }

  void do_exchange(const void* mine, void* all, std::size_t bytes) override {
    const std::uint64_t call = calls_++;
    // A copy: `mine` may lie inside `all`.
    const fs::path fresh = folder_ / text("fresh.", rank_);
    write(fresh, mine, bytes);
    fs::rename(fresh, path(call, rank_));
    for (int r = 0; r < size_; ++r) read(call, r, static_cast<char*>(all) + static_cast<std::size_t>(r) * bytes, bytes);
    std::error_code ignored;
    if (call > 0) fs::remove(path(call - 1, rank_), ignored);
  }
  void do_all_gather(const Stream&, const void* in, void* out, std::size_t bytes) override { do_exchange(in, out, bytes); }
  void do_all_reduce(const Stream&, void* inout, std::int64_t count, DType t, ReduceOp op) override {
    reduce(inout, static_cast<std::size_t>(count) * size_of(t), 0, count, inout, t, op);
  }
  void do_reduce_scatter(const Stream&, const void* in, void* out, std::int64_t count, DType t, ReduceOp op) override {
    reduce(in, static_cast<std::size_t>(count) * size_of(t) * static_cast<std::size_t>(size_), count * rank_, count,
           out, t, op);
  }
  // Gathers `bytes` of every rank and reduces elements [first, first + count) into out.
  void reduce(const void* in, std::size_t bytes, std::int64_t first, std::int64_t count, void* out, DType t,
              ReduceOp op) {
    std::vector<char> all(bytes * static_cast<std::size_t>(size_));
    do_exchange(in, all.data(), bytes);
    std::vector<const void*> parts;
    for (int r = 0; r < size_; ++r)
      parts.push_back(all.data() + static_cast<std::size_t>(r) * bytes + static_cast<std::size_t>(first) * size_of(t));
    reduce_in_rank_order(t, op, parts, out, count);
  }
  void do_broadcast(const Stream&, void* inout, std::size_t bytes, int root) override {
    std::vector<char> all(bytes * static_cast<std::size_t>(size_));
    do_exchange(inout, all.data(), bytes);
    std::memcpy(inout, all.data() + static_cast<std::size_t>(root) * bytes, bytes);
  }

  fs::path folder_;
  std::uint64_t calls_ = 0;
};

}  // namespace

std::unique_ptr<Communicator> make_file(const std::string& folder, int rank, int size) {
  return std::make_unique<File>(folder, rank, size);
}

}  // namespace mfl
