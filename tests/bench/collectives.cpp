#include "tests/bench/collectives.h"

#include <algorithm>
#include <chrono>

#include "runtime/arena.h"
#include "runtime/stream.h"

namespace mfl::bench {

AllReduceRate time_all_reduce(Communicator& comm, int mib, int repeats) {
  const std::int64_t count = std::int64_t{mib} << 18;
  const Stream stream = Stream::create(comm.device(), "all-reduce");
  Arena memory(comm.device(), (static_cast<std::size_t>(count) + (1 << 20)) * sizeof(float), "all-reduce");
  const Tensor values = memory.empty({count}, DType::f32, {"values"});
  fill_zero(stream, values);
  std::vector<double> seconds;
  for (int i = 0; i < repeats + 2; ++i) {   // two to warm up
    stream.synchronize();
    comm.barrier();
    const auto begin = std::chrono::steady_clock::now();
    comm.all_reduce(stream, values, ReduceOp::avg);
    stream.synchronize();
    if (i >= 2) seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2), seconds.end());
  AllReduceRate r{.seconds = seconds[seconds.size() / 2]};
  const double n = comm.size();
  r.bus_bytes = 2 * (n - 1) / n * static_cast<double>(values.bytes()) / r.seconds;
  return r;
}

}  // namespace mfl::bench
