// NVTX ranges, so that nsys and ncu show our names. Header-only NVTX costs a few nanoseconds when no tool listens; without
// the CUDA toolkit only the observer is left.
#pragma once

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define MFL_HAVE_NVTX 1
#else
#define MFL_HAVE_NVTX 0
#endif

namespace mfl {

// Whoever wants to know when the ranges of this thread begin and end: the memory planner.
class RangeObserver {
 public:
  virtual ~RangeObserver() = default;
  virtual void enter(const char* name) = 0;
  virtual void leave(const char* name) = 0;
};
inline thread_local RangeObserver* range_observer = nullptr;

class Range {
 public:
  explicit Range(const char* name) : name_(name) {   // a string literal
#if MFL_HAVE_NVTX
    nvtxRangePushA(name);
#endif
    if (range_observer) range_observer->enter(name_);
  }
  ~Range() {
    if (range_observer) range_observer->leave(name_);
#if MFL_HAVE_NVTX
    nvtxRangePop();
#endif
  }
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;

 private:
  const char* name_;
};

}  // namespace mfl
