// The CUDA half of the backend. Memory ranges use the virtual memory API (addresses never move while they grow); its
// entry points are asked of the runtime, so that nothing links against the driver and a machine without one still starts.
#include <cuda.h>
#include <nvtx3/nvToolsExtCudaRt.h>

#include <atomic>
#include <mutex>
#include <vector>

#include "runtime/backend.h"
#include "runtime/cuda_check.h"

namespace mfl::backend::cuda {
namespace {

struct Driver {
  decltype(&cuMemAddressReserve) reserve = nullptr;
  decltype(&cuMemAddressFree) free = nullptr;
  decltype(&cuMemCreate) create = nullptr;
  decltype(&cuMemRelease) release = nullptr;
  decltype(&cuMemMap) map = nullptr;
  decltype(&cuMemUnmap) unmap = nullptr;
  decltype(&cuMemSetAccess) set_access = nullptr;
  decltype(&cuMemGetAllocationGranularity) granularity = nullptr;
  decltype(&cuGetErrorString) error_string = nullptr;
};

template <class F>
void entry(const char* name, F& f) {
  void* p = nullptr;
  cudaDriverEntryPointQueryResult found{};
  MFL_CUDA(cudaGetDriverEntryPointByVersion(name, &p, 12000, cudaEnableDefault, &found));
  if (found != cudaDriverEntryPointSuccess || !p)
    throw_error<DeviceError>("the CUDA driver has no ", name, "; a driver for CUDA 12 or newer is needed");
  f = reinterpret_cast<F>(p);
}

const Driver& driver() {
  static const Driver d = [] {
    Driver x;
    entry("cuMemAddressReserve", x.reserve);
    entry("cuMemAddressFree", x.free);
    entry("cuMemCreate", x.create);
    entry("cuMemRelease", x.release);
    entry("cuMemMap", x.map);
    entry("cuMemUnmap", x.unmap);
    entry("cuMemSetAccess", x.set_access);
    entry("cuMemGetAllocationGranularity", x.granularity);
    entry("cuGetErrorString", x.error_string);
    return x;
  }();
  return d;
}

void check(CUresult status, const char* what) {
  if (status == CUDA_SUCCESS) return;
  const char* words = "";
  driver().error_string(status, &words);
  if (status == CUDA_ERROR_OUT_OF_MEMORY) throw_error<OutOfMemory>(what, ": ", words);
  throw_error<DeviceError>(what, ": ", words);
}

struct Mapping {
  CUmemGenericAllocationHandle handle;
  std::size_t offset, bytes;
};
struct RangeState {
  std::vector<Mapping> mappings;
  std::size_t granularity = 0;
};

CUmemAllocationProp allocation_on(int index) {
  CUmemAllocationProp p{};
  p.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  p.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  p.location.id = index;
  return p;
}

// Growth step: few driver calls in the first step, little waste at the end of it.
constexpr std::size_t kCommitStep = 64u << 20;

// The device of the process. A thread that never chose one would open a context on device 0, also in a process that works
// on another; so everything that the loader's or the watchdog's thread may call chooses first (a thread-local store).
std::atomic<int> home{0};
void use(int index) {
  home.store(index, std::memory_order_relaxed);
  MFL_CUDA(cudaSetDevice(index));
}

cudaStream_t stream_of(void* s) { return static_cast<cudaStream_t>(s); }
cudaEvent_t event_of(void* e) { return static_cast<cudaEvent_t>(e); }

}  // namespace

int device_count() {
  static const int count = [] {
    int n = 0;
    if (cudaGetDeviceCount(&n) != cudaSuccess) {
      (void)cudaGetLastError();
      return 0;
    }
    return n;
  }();
  return count;
}

DeviceInfo info(int index) {
  cudaDeviceProp p{};
  MFL_CUDA(cudaGetDeviceProperties(&p, index));
  int version = 0;
  MFL_CUDA(cudaDriverGetVersion(&version));
  DeviceInfo i;
  i.name = p.name;
  i.memory_bytes = p.totalGlobalMem;
  i.compute_capability = p.major * 10 + p.minor;
  i.multiprocessors = p.multiProcessorCount;
  i.driver = text(version / 1000, '.', version % 1000 / 10);
  return i;
}

void* allocate(int index, std::size_t bytes) {
  use(index);
  void* p = nullptr;
  const cudaError_t status = cudaMalloc(&p, bytes ? bytes : 1);
  if (status == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    throw_error<OutOfMemory>("cuda:", index, " has no ", bytes, " bytes left");
  }
  MFL_CUDA(status);
  return p;
}
void deallocate(int, void* p) noexcept { (void)cudaFree(p); }
void* allocate_pinned(std::size_t bytes) {
  MFL_CUDA(cudaSetDevice(home.load(std::memory_order_relaxed)));
  void* p = nullptr;
  MFL_CUDA(cudaHostAlloc(&p, bytes ? bytes : 1, cudaHostAllocPortable));
  return p;
}
void deallocate_pinned(void* p) noexcept { (void)cudaFreeHost(p); }

Range reserve(int index, std::size_t bytes) {
  use(index);
  MFL_CUDA(cudaFree(nullptr));  // makes the primary context
  auto* state = new RangeState;
  const CUmemAllocationProp prop = allocation_on(index);
  check(driver().granularity(&state->granularity, &prop, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED), "allocation granularity");
  Range r;
  r.device = {DeviceKind::cuda, index};
  r.state = state;
  r.reserved = (bytes + state->granularity - 1) / state->granularity * state->granularity;
  CUdeviceptr base = 0;
  check(driver().reserve(&base, r.reserved, 0, 0, 0), "reserve device addresses");
  r.base = reinterpret_cast<char*>(base);
  return r;
}

void commit(Range& r, std::size_t bytes) {
  if (bytes <= r.committed) return;
  auto* state = static_cast<RangeState*>(r.state);
  const std::size_t step = std::max(kCommitStep, state->granularity);
  std::size_t target = (bytes + step - 1) / step * step;
  if (target > r.reserved) target = r.reserved;
  if (bytes > target) throw_error<OutOfMemory>(bytes, " bytes are needed of a device range of ", r.reserved);
  const std::size_t grow = target - r.committed;
  const CUmemAllocationProp prop = allocation_on(r.device.index);
  Mapping m{};
  check(driver().create(&m.handle, grow, &prop, 0), "commit device memory");
  m.offset = r.committed;
  m.bytes = grow;
  const CUdeviceptr at = reinterpret_cast<CUdeviceptr>(r.base + r.committed);
  check(driver().map(at, grow, 0, m.handle, 0), "map device memory");
  CUmemAccessDesc access{};
  access.location = prop.location;
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  check(driver().set_access(at, grow, &access, 1), "open device memory");
  state->mappings.push_back(m);
  r.committed = target;
}

void release(Range& r) noexcept {
  auto* state = static_cast<RangeState*>(r.state);
  if (!state) return;
  (void)cudaSetDevice(r.device.index);
  (void)cudaDeviceSynchronize();
  for (const Mapping& m : state->mappings) {
    driver().unmap(reinterpret_cast<CUdeviceptr>(r.base + m.offset), m.bytes);
    driver().release(m.handle);
  }
  driver().free(reinterpret_cast<CUdeviceptr>(r.base), r.reserved);
  delete state;
  r.state = nullptr;
  r.base = nullptr;
}

void* create_stream(int index, const char* name) {
  use(index);
  cudaStream_t s = nullptr;
  MFL_CUDA(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
  nvtxNameCudaStreamA(s, name);
  return s;
}
void destroy_stream(int, void* s) noexcept { (void)cudaStreamDestroy(stream_of(s)); }
void synchronize_stream(int index, void* s) {
  use(index);
  MFL_CUDA(cudaStreamSynchronize(stream_of(s)));
}
void* create_event(int index) {
  use(index);
  cudaEvent_t e = nullptr;
  MFL_CUDA(cudaEventCreate(&e));
  return e;
}
void destroy_event(int, void* e) noexcept { (void)cudaEventDestroy(event_of(e)); }
void record_event(int index, void* e, void* s) {
  use(index);
  MFL_CUDA(cudaEventRecord(event_of(e), stream_of(s)));
}
void stream_wait_event(int index, void* s, void* e) {
  use(index);
  MFL_CUDA(cudaStreamWaitEvent(stream_of(s), event_of(e), 0));
}
bool event_done(int index, void* e) {
  use(index);
  const cudaError_t status = cudaEventQuery(event_of(e));
  if (status == cudaErrorNotReady) {
    (void)cudaGetLastError();  // no error: it must not reach the check after the next launch
    return false;
  }
  MFL_CUDA(status);
  return true;
}
void synchronize_event(int index, void* e) {
  use(index);
  MFL_CUDA(cudaEventSynchronize(event_of(e)));
}
double event_milliseconds(void* from, void* to) {
  float ms = 0;
  MFL_CUDA(cudaEventElapsedTime(&ms, event_of(from), event_of(to)));
  return ms;
}

void copy(int index, void* s, void* to, const void* from, std::size_t bytes) {
  use(index);
  MFL_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_of(s)));
}
void fill_bytes(int index, void* s, void* to, int value, std::size_t bytes) {
  use(index);
  MFL_CUDA(cudaMemsetAsync(to, value, bytes, stream_of(s)));
}

}  // namespace mfl::backend::cuda
