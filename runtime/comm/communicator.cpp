#include "runtime/comm/communicator.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <exception>

#include "runtime/log.h"

namespace mfl {

const char* name_of(ReduceOp op) {
  switch (op) {
    case ReduceOp::sum:
      return "sum";
    case ReduceOp::avg:
      return "avg";
    case ReduceOp::min:
      return "min";
    case ReduceOp::max:
      return "max";
  }
  return "?";
}

namespace {
void check_view(const Communicator& c, const Stream& s, const char* op, ConstView v) {
  MFL_CHECK(v && v.contiguous(), op, ": a contiguous view is needed, got ", v.shape);
  MFL_CHECK(v.dtype != DType::f16, op, ": f16 is a file format here, not a type to compute on");
  MFL_CHECK(v.device == s.device(), op, ": the view is on ", v.device, ", the stream on ", s.device());
  MFL_CHECK(v.device == c.device() || v.device.is_meta(), op, ": the view is on ", v.device,
            ", but this communicator (", c.name(), ") works on ", c.device());
}
void check_reduction(const char* op, DType t, ReduceOp r) {
  const bool floating = t == DType::f64 || t == DType::f32 || t == DType::bf16;
  MFL_CHECK(r != ReduceOp::avg || floating, op, ": the average of ", t, " is not an integer; use sum");
}
void check_parts(const char* op, ConstView whole, ConstView part, int size) {
  MFL_CHECK(whole.dtype == part.dtype && whole.numel() == part.numel() * size, op, ": ", whole.dtype, ' ', whole.shape,
            " is not ", size, " times ", part.dtype, ' ', part.shape);
}
std::size_t bytes_of(ConstView v) { return static_cast<std::size_t>(v.numel()) * size_of(v.dtype); }
}  // namespace

void Communicator::all_reduce(const Stream& s, View inout, ReduceOp op) {
  check_view(*this, s, "all_reduce", inout);
  check_reduction("all_reduce", inout.dtype, op);
  if (!inout.numel() || inout.device.is_meta()) return;
  const Inside inside(*this, "all_reduce", bytes_of(inout));
  do_all_reduce(s, inout.data, inout.numel(), inout.dtype, op);
}
void Communicator::reduce_scatter(const Stream& s, ConstView in, View out, ReduceOp op) {
  check_view(*this, s, "reduce_scatter", in);
  check_view(*this, s, "reduce_scatter", out);
  check_reduction("reduce_scatter", in.dtype, op);
  check_parts("reduce_scatter", in, out, size_);
  if (!out.numel() || out.device.is_meta()) return;
  const Inside inside(*this, "reduce_scatter", bytes_of(in));
  do_reduce_scatter(s, in.data, out.data, out.numel(), out.dtype, op);
}
void Communicator::all_gather(const Stream& s, ConstView in, View out) {
  check_view(*this, s, "all_gather", in);
  check_view(*this, s, "all_gather", out);
  check_parts("all_gather", out, in, size_);
  if (!in.numel() || in.device.is_meta()) return;
  const Inside inside(*this, "all_gather", bytes_of(out));
  do_all_gather(s, in.data, out.data, bytes_of(in));
}
void Communicator::broadcast(const Stream& s, View inout, int root) {
  check_view(*this, s, "broadcast", inout);
  MFL_CHECK(root >= 0 && root < size_, "broadcast: root ", root, " of ", size_, " ranks");
  if (!inout.numel() || inout.device.is_meta()) return;
  const Inside inside(*this, "broadcast", bytes_of(inout));
  do_broadcast(s, inout.data, bytes_of(inout), root);
}

void Communicator::exchange(const void* mine, void* all, std::size_t bytes) {
  const Inside inside(*this, "exchange", bytes);
  do_exchange(mine, all, bytes);
}

Communicator::Progress Communicator::progress() const {
  std::lock_guard lock(progress_mutex_);
  return progress_;
}
Communicator::Inside::Inside(Communicator& c, const char* call, std::size_t bytes) : comm_(c) {
  std::lock_guard lock(c.progress_mutex_);
  c.progress_ = {c.progress_.begun + 1, true, call, bytes};
}
Communicator::Inside::~Inside() {
  std::lock_guard lock(comm_.progress_mutex_);
  comm_.progress_.inside = false;
}

void Communicator::barrier() { gather<char>(0); }

std::vector<std::string> Communicator::gather_text(const std::string& mine) {
  const auto lengths = gather<std::uint64_t>(mine.size());
  const std::size_t longest = *std::max_element(lengths.begin(), lengths.end());
  std::vector<std::string> texts(static_cast<std::size_t>(size_));
  if (longest == 0) return texts;
  std::string padded = mine, all(longest * static_cast<std::size_t>(size_), '\0');
  padded.resize(longest);
  exchange(padded.data(), all.data(), longest);
  for (std::size_t r = 0; r < texts.size(); ++r) texts[r] = all.substr(r * longest, lengths[r]);
  return texts;
}
std::string Communicator::broadcast_text(const std::string& text, int root) {
  MFL_CHECK(root >= 0 && root < size_, "broadcast_text: root ", root, " of ", size_, " ranks");
  return gather_text(rank_ == root ? text : std::string())[static_cast<std::size_t>(root)];
}
bool Communicator::any(bool mine) {
  const auto all = gather<char>(mine);
  return std::any_of(all.begin(), all.end(), [](char c) { return c != 0; });
}
bool Communicator::all(bool mine) { return !any(!mine); }

void Communicator::find_local_ranks() {
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  const auto hosts = gather(host);
  local_rank_ = local_size_ = 0;
  for (int r = 0; r < size_; ++r)
    if (hosts[static_cast<std::size_t>(r)] == host) {
      if (local_size_ == 0) host_ = r;
      if (r < rank_) ++local_rank_;
      ++local_size_;
    }
}

int run_rank(Communicator& comm, const std::function<int()>& body) noexcept {
  auto failed = [&](const std::string& why, int code) {
    log_error(comm.size() > 1 ? text("rank ", comm.rank(), " of ", comm.size(), " failed: ", why) : why);
    if (comm.size() > 1) comm.abort(text("rank ", comm.rank(), " failed: ", why), code);
    return code;
  };
  try {
    return body();
  } catch (const std::exception& e) {
    return failed(e.what(), exit_code(e));
  } catch (...) {
    return failed("an error of unknown type", kExitFailure);
  }
}

}  // namespace mfl
