// Streams and events. The CPU stream runs at once; the meta stream runs nothing.
#pragma once

#include <string_view>

#include "runtime/view.h"

namespace mfl {

// A point in a stream's work. Copyable by move only.
class Event {
 public:
  explicit Event(Device);
  ~Event();
  Event(Event&&) noexcept;
  Event& operator=(Event&&) noexcept;
  bool done() const;                       // does not block
  void synchronize() const;                // blocks the host
  double milliseconds_since(const Event& earlier) const;   // both must be done
  void* native() const { return native_; }
  Device device() const { return device_; }

 private:
  friend class Stream;
  Device device_{};
  void* native_ = nullptr;
};

class Stream {
 public:
  static Stream create(Device, std::string_view name);
  ~Stream();
  Stream(Stream&&) noexcept;
  Stream& operator=(Stream&&) noexcept;

  Event record() const;
  void record(Event&) const;               // reuses the event: no driver call but the record
  void wait(const Event&) const;           // on the device; the host does not block
  void synchronize() const;                // with Event::synchronize, the only calls that block the host
  Device device() const { return device_; }
  void* native() const { return native_; } // cudaStream_t on CUDA

 private:
  Stream() = default;
  Device device_{};
  void* native_ = nullptr;
};

// Bytes of a contiguous view to another of the same shape and dtype, ordered on the stream. Host memory that takes part in
// a copy to or from CUDA must be pinned to be asynchronous, and must stay alive until the stream has passed.
void copy(const Stream&, ConstView from, View to);
void fill_zero(const Stream&, View);

}  // namespace mfl
