// Deterministic memory: best fit over one reserved address range. The same calls give the same offsets, on every device
// kind; a dry run on `meta` therefore knows the peak of the real run to the byte.
//
// Blocks are reused in stream order: whoever allocates and releases on one arena must use it from one stream.
//
// MFL_GUARD=1 in the environment makes every block an allocation of its own, as large as was asked for, so that
// compute-sanitizer (on the CPU the address sanitizer) sees what is read or written beyond it, after its release, or before it was
// written. Offsets, peaks and traces are the same; the time is not (tests/sanitize.sh).
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/backend.h"
#include "runtime/tensor.h"

namespace mfl {

class Arena {
 public:
  static constexpr std::size_t kAlignment = 256;

  // `reserve_bytes` bounds the arena; only what is used is taken from the device. `name` appears in messages.
  Arena(Device, std::size_t reserve_bytes, std::string name);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Contents undefined. Throws OutOfMemory with the five largest live purposes.
  Tensor empty(Shape, DType, Purpose = {});

  void begin_step();                                  // restarts the trace and the step's peak
  std::uint64_t trace() const { return trace_; }      // hash of every allocate and release since begin_step
  std::size_t live_bytes() const { return live_; }
  std::size_t peak_bytes() const { return peak_; }    // highest end of a block, fragmentation included
  std::size_t step_peak_bytes() const { return step_peak_; }
  std::size_t driver_growths() const { return growths_; }   // how often memory was taken from the driver
  Device device() const { return range_.device; }
  const std::string& name() const { return name_; }

  struct Use {
    std::string_view purpose;
    std::size_t bytes;
  };
  // Bytes by purpose at the moment of the highest live sum, largest first.
  std::vector<Use> peak_uses() const;

 private:
  void release(detail::Block*) noexcept;
  std::vector<Use> uses() const;

  backend::Range range_;
  std::string name_;
  std::map<std::size_t, std::size_t> free_;                    // offset -> bytes, below end_
  std::set<std::pair<std::size_t, std::size_t>> free_by_size_;  // (bytes, offset)
  std::map<std::size_t, detail::Block*> blocks_;               // live blocks by offset
  std::size_t end_ = 0;                                        // highest offset ever used and not returned
  std::size_t live_ = 0, live_peak_ = 0, peak_ = 0, step_peak_ = 0, growths_ = 0;
  std::uint64_t trace_ = 0;
  std::vector<Use> peak_uses_;
  bool track_uses_ = false;
  bool guarded_ = false;
};

}  // namespace mfl
