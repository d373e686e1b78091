#include "tests/bench/machine.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <sstream>

#include "kernels/gemm/linear.h"
#include "runtime/tensor.h"

namespace mfl::bench {
namespace {

// First line of a command's output; empty when it fails.
std::string output_of(const std::string& command) {
  FILE* pipe = popen((command + " 2>/dev/null").c_str(), "r");
  if (!pipe) return {};
  char line[512] = "";
  const bool read = std::fgets(line, sizeof line, pipe) != nullptr;
  const bool ok = pclose(pipe) == 0;
  std::string s = read && ok ? line : "";
  while (!s.empty() && (s.back() == '\n' || s.back() == '\r')) s.pop_back();
  return s;
}

std::string commit() {
  if (const char* given = std::getenv("MFL_COMMIT")) return given;
  const std::string git = "git -C '" MFL_SOURCE_DIR "' describe --always --dirty --abbrev=12 --exclude='*'";
  const std::string found = output_of(git);
  return found.empty() ? "unknown" : found;
}

// Seconds of the fastest of `runs`.
double fastest(const Stream& stream, int runs, const std::function<void()>& work) {
  double best = 1e30;
  for (int i = 0; i < runs + 2; ++i) {
    const Event from = stream.record();
    work();
    const Event to = stream.record();
    to.synchronize();
    if (i >= 2) best = std::min(best, to.milliseconds_since(from) / 1e3);
  }
  return best;
}

}  // namespace

nlohmann::ordered_json describe_machine(Device device) {
  nlohmann::ordered_json j;
  const DeviceInfo info = device_info(device);
  char date[32];
  const std::time_t now = std::time(nullptr);
  std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
  j["commit"] = commit();
  j["date"] = date;
  j["device"] = info.name;
  if (!device.is_cuda()) {
    j["cores"] = info.multiprocessors;
    return j;
  }
  j["cuda_driver_api"] = info.driver;
  j["cuda_toolkit"] = MFL_CUDA_TOOLKIT_VERSION;
  std::stringstream smi(
      output_of(text("nvidia-smi -i ", device.index,
                     " --query-gpu=driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit,temperature.gpu"
                     " --format=csv,noheader,nounits")));
  std::string value;
  for (const char* key : {"driver", "sm_mhz", "sm_mhz_max", "memory_mhz", "power_limit_w", "celsius"})
    if (std::getline(smi >> std::ws, value, ',')) j[key] = value;
  return j;
}

Peaks measure_peaks(Device device, DType dtype) {
  const Stream stream = Stream::create(device, "peaks");
  const bool gpu = device.is_cuda();
  Peaks p;
  {
    const std::int64_t n = std::int64_t{gpu ? 2048 : 256} << 20;  // bytes
    Tensor a = Tensor::on_heap({n}, DType::u8, device), b = Tensor::on_heap({n}, DType::u8, device);
    fill_zero(stream, a);
    fill_zero(stream, b);
    p.bytes_per_second = 2.0 * double(n) / fastest(stream, gpu ? 20 : 5, [&] { copy(stream, a, b); });
  }
  {
    const std::int64_t n = gpu ? 8192 : 512;
    Tensor x = Tensor::on_heap({n, n}, dtype, device), w = Tensor::on_heap({n, n}, dtype, device),
           y = Tensor::on_heap({n, n}, dtype, device);
    // Bits that are ordinary numbers in every dtype: zeros would let the chip run cooler and faster than real data
    // does.
    std::vector<std::uint8_t> host(x.bytes());
    std::uint32_t state = 1;
    for (std::size_t i = 0; i < host.size(); ++i) {
      state = state * 1664525u + 1013904223u;
      const bool top = i % size_of(dtype) == size_of(dtype) - 1;  // sign and high exponent bits: values around one
      host[i] = top ? static_cast<std::uint8_t>(0x3e + (state >> 24 & 0x80)) : static_cast<std::uint8_t>(state >> 24);
    }
    const auto bytes = make_view(static_cast<const void*>(host.data()), {n, n}, dtype);
    copy(stream, bytes, x);
    copy(stream, bytes, w);
    p.flops_per_second = 2.0 * double(n) * double(n) * double(n) /
                         fastest(stream, gpu ? 20 : 3, [&] { linear_fwd(stream, {.x = x, .weight = w, .y = y}); });
  }
  return p;
}

}  // namespace mfl::bench
