// The CUDA half of the backend in a build without CUDA: there are no devices, and asking for one says so.
#include "runtime/backend.h"
#include "runtime/error.h"

namespace mfl::backend::cuda {
namespace {
[[noreturn]] void none() {
  throw_error<DeviceError>("this build has no CUDA; configure with the preset `cuda` on a machine with nvcc");
}
}  // namespace

int device_count() { return 0; }
DeviceInfo info(int) { none(); }
void* allocate(int, std::size_t) { none(); }
void deallocate(int, void*) noexcept {}
void* allocate_pinned(std::size_t) { none(); }
void deallocate_pinned(void*) noexcept {}
Range reserve(int, std::size_t) { none(); }
void commit(Range&, std::size_t) { none(); }
void release(Range&) noexcept {}
void* create_stream(int, const char*) { none(); }
void destroy_stream(int, void*) noexcept {}
void synchronize_stream(int, void*) { none(); }
void* create_event(int) { none(); }
void destroy_event(int, void*) noexcept {}
void record_event(int, void*, void*) { none(); }
void stream_wait_event(int, void*, void*) { none(); }
bool event_done(int, void*) { none(); }
void synchronize_event(int, void*) { none(); }
double event_milliseconds(void*, void*) { none(); }
void copy(int, void*, void*, const void*, std::size_t) { none(); }
void fill_bytes(int, void*, void*, int, std::size_t) { none(); }

}  // namespace mfl::backend::cuda
