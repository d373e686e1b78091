// NVTX ranges, so that nsys and ncu show our names. Header-only NVTX costs a few nanoseconds when no tool listens; without
// the CUDA toolkit the type is empty.
#pragma once

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define MFL_HAVE_NVTX 1
#else
#define MFL_HAVE_NVTX 0
#endif

namespace mfl {

class Range {
 public:
#if MFL_HAVE_NVTX
  explicit Range(const char* name) { nvtxRangePushA(name); }
  ~Range() { nvtxRangePop(); }
#else
  explicit Range(const char*) {}
  ~Range() {}
#endif
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;
};

}  // namespace mfl
