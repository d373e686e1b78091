// What the runtime needs of a device, in a dozen functions. Two siblings implement it for CUDA: backend_cuda.cpp, and
// backend_no_cuda.cpp, which says that this build has none. Only runtime/ includes this file.
#pragma once

#include <cstddef>

#include "runtime/device.h"

namespace mfl::backend {

// ---- memory ----
void* allocate(Device, std::size_t bytes);         // meta: nullptr. Throws OutOfMemory.
void deallocate(Device, void*) noexcept;
void* allocate_pinned(std::size_t bytes);          // host memory that CUDA can copy asynchronously; plain without CUDA
void deallocate_pinned(void*) noexcept;

// A reserved address range of which the first `committed` bytes are usable. Addresses never move.
struct Range {
  Device device{};
  char* base = nullptr;
  std::size_t reserved = 0, committed = 0;
  void* state = nullptr;  // the device's handles
};
Range reserve(Device, std::size_t bytes);
void commit(Range&, std::size_t bytes);            // at least; grows only. Throws OutOfMemory.
void release(Range&) noexcept;

// ---- streams and events; native handles, null on the CPU ----
void* create_stream(Device, const char* name);
void destroy_stream(Device, void*) noexcept;
void synchronize_stream(Device, void*);
void* create_event(Device);
void destroy_event(Device, void*) noexcept;
void record_event(Device, void* event, void* stream);
void stream_wait_event(Device, void* stream, void* event);
bool event_done(Device, void* event);
void synchronize_event(Device, void* event);
double event_milliseconds(Device, void* from, void* to);   // CPU: host clock

// ---- transfers, ordered on the stream; either side may be host memory (pinned to be asynchronous) ----
void copy(Device stream_device, void* stream, void* to, const void* from, std::size_t bytes);
void fill_bytes(Device, void* stream, void* to, int value, std::size_t bytes);

// ---- CUDA half, implemented by one of the two siblings ----
namespace cuda {
int device_count();
DeviceInfo info(int index);
void* allocate(int index, std::size_t bytes);
void deallocate(int index, void*) noexcept;
void* allocate_pinned(std::size_t bytes);
void deallocate_pinned(void*) noexcept;
Range reserve(int index, std::size_t bytes);
void commit(Range&, std::size_t bytes);
void release(Range&) noexcept;
void* create_stream(int index, const char* name);
void destroy_stream(int index, void*) noexcept;
void synchronize_stream(int index, void*);
void* create_event(int index);
void destroy_event(int index, void*) noexcept;
void record_event(int index, void* event, void* stream);
void stream_wait_event(int index, void* stream, void* event);
bool event_done(int index, void* event);
void synchronize_event(int index, void* event);
double event_milliseconds(void* from, void* to);
void copy(int index, void* stream, void* to, const void* from, std::size_t bytes);
void fill_bytes(int index, void* stream, void* to, int value, std::size_t bytes);
}  // namespace cuda

}  // namespace mfl::backend
