// Where memory lives and work runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string>

namespace mfl {

enum class DeviceKind : std::uint8_t { cpu, cuda, meta };  // meta: shapes only, for dry runs

struct Device {
  DeviceKind kind = DeviceKind::cpu;
  int index = 0;
  bool operator==(const Device&) const = default;
  bool is_cpu() const { return kind == DeviceKind::cpu; }
  bool is_cuda() const { return kind == DeviceKind::cuda; }
  bool is_meta() const { return kind == DeviceKind::meta; }
};
inline constexpr Device kCpu{DeviceKind::cpu, 0};
inline constexpr Device kMeta{DeviceKind::meta, 0};
inline std::ostream& operator<<(std::ostream& out, const Device& d) {
  if (d.is_cpu()) return out << "cpu";
  if (d.is_meta()) return out << "meta";
  return out << "cuda:" << d.index;
}

struct DeviceInfo {
  std::string name;
  std::size_t memory_bytes = 0;
  int compute_capability = 0;  // 90 for 9.0; 0 on the CPU
  int multiprocessors = 0;     // cores on the CPU
  std::string driver;          // CUDA driver version, such as "13.0"; empty on the CPU
};
// Number of CUDA devices that this process may use; 0 in a build without CUDA or on a machine without a driver.
int cuda_device_count();
DeviceInfo device_info(Device);
// "cpu", "cuda", "cuda:1". Throws ConfigError; "cuda" without a usable GPU says why.
Device parse_device(const std::string&);

}  // namespace mfl
