#include "runtime/backend.h"

#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>

#include "runtime/error.h"

namespace mfl {

int cuda_device_count() { return backend::cuda::device_count(); }

DeviceInfo device_info(Device d) {
  if (d.is_cuda()) return backend::cuda::info(d.index);
  DeviceInfo info;
  info.name = d.is_meta() ? "dry run" : "CPU";
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; d.is_cpu() && std::getline(cpuinfo, line);)
    if (line.starts_with("model name")) {
      info.name = line.substr(line.find(':') + 2);
      break;
    }
  info.memory_bytes = static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  info.multiprocessors = static_cast<int>(std::thread::hardware_concurrency());
  return info;
}

Device parse_device(const std::string& name) {
  if (name == "cpu") return kCpu;
  if (name == "meta") return kMeta;
  if (name == "cuda" || name.starts_with("cuda:")) {
    int index = 0;
    if (name.size() > 5) {
      char* end = nullptr;
      index = static_cast<int>(std::strtol(name.c_str() + 5, &end, 10));
      if (end == name.c_str() + 5 || *end || index < 0)
        throw_error<ConfigError>("device \"", name, "\": expected cpu, cuda or cuda:N");
    }
    const int n = cuda_device_count();
    if (index >= n)
      throw_error<ConfigError>("device \"", name, "\": this process sees ", n,
                               " CUDA device(s); use --device cpu, or check nvidia-smi and CUDA_VISIBLE_DEVICES");
    return {DeviceKind::cuda, index};
  }
  throw_error<ConfigError>("device \"", name, "\": expected cpu, cuda or cuda:N");
}

}  // namespace mfl

namespace mfl::backend {
namespace {
double* new_time() { return new double(0); }
double now_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
}  // namespace

void* allocate(Device d, std::size_t bytes) {
  if (d.is_meta()) return nullptr;
  if (d.is_cuda()) return cuda::allocate(d.index, bytes);
  void* p = nullptr;
  if (posix_memalign(&p, 256, bytes ? bytes : 1) != 0) throw_error<OutOfMemory>("the host has no ", bytes, " bytes left");
  return p;
}
void deallocate(Device d, void* p) noexcept {
  if (d.is_cuda()) return cuda::deallocate(d.index, p);
  std::free(p);
}
void* allocate_pinned(std::size_t bytes) {
  return cuda::device_count() > 0 ? cuda::allocate_pinned(bytes) : allocate(kCpu, bytes);
}
void deallocate_pinned(void* p) noexcept {
  if (cuda::device_count() > 0) return cuda::deallocate_pinned(p);
  std::free(p);
}

Range reserve(Device d, std::size_t bytes) {
  if (d.is_cuda()) return cuda::reserve(d.index, bytes);
  Range r;
  r.device = d;
  r.reserved = bytes;
  if (d.is_meta()) return r;
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw_error<OutOfMemory>("cannot reserve ", bytes, " bytes of address space: ", std::strerror(errno));
  r.base = static_cast<char*>(p);
  return r;
}
void commit(Range& r, std::size_t bytes) {
  if (r.device.is_cuda()) return cuda::commit(r, bytes);
  if (bytes > r.reserved) throw_error<OutOfMemory>(bytes, " bytes are needed of a range of ", r.reserved);
  if (bytes > r.committed) r.committed = bytes;  // the host maps pages when they are touched
}
void release(Range& r) noexcept {
  if (r.device.is_cuda()) return cuda::release(r);
  if (r.base) munmap(r.base, r.reserved);
  r.base = nullptr;
}

void* create_stream(Device d, const char* name) { return d.is_cuda() ? cuda::create_stream(d.index, name) : nullptr; }
void destroy_stream(Device d, void* s) noexcept {
  if (d.is_cuda()) cuda::destroy_stream(d.index, s);
}
void synchronize_stream(Device d, void* s) {
  if (d.is_cuda()) cuda::synchronize_stream(d.index, s);
}
void* create_event(Device d) { return d.is_cuda() ? cuda::create_event(d.index) : new_time(); }
void destroy_event(Device d, void* e) noexcept {
  if (d.is_cuda()) return cuda::destroy_event(d.index, e);
  delete static_cast<double*>(e);
}
void record_event(Device d, void* e, void* s) {
  if (d.is_cuda()) return cuda::record_event(d.index, e, s);
  *static_cast<double*>(e) = now_ms();
}
void stream_wait_event(Device d, void* s, void* e) {
  if (d.is_cuda()) cuda::stream_wait_event(d.index, s, e);
}
bool event_done(Device d, void* e) { return d.is_cuda() ? cuda::event_done(d.index, e) : true; }
void synchronize_event(Device d, void* e) {
  if (d.is_cuda()) cuda::synchronize_event(d.index, e);
}
double event_milliseconds(Device d, void* from, void* to) {
  if (d.is_cuda()) return cuda::event_milliseconds(from, to);
  return *static_cast<double*>(to) - *static_cast<double*>(from);
}

void copy(Device d, void* s, void* to, const void* from, std::size_t bytes) {
  if (bytes == 0 || d.is_meta()) return;
  if (d.is_cuda()) return cuda::copy(d.index, s, to, from, bytes);
  std::memmove(to, from, bytes);
}
void fill_bytes(Device d, void* s, void* to, int value, std::size_t bytes) {
  if (bytes == 0 || d.is_meta()) return;
  if (d.is_cuda()) return cuda::fill_bytes(d.index, s, to, value, bytes);
  std::memset(to, value, bytes);
}

}  // namespace mfl::backend
