// Batches ahead of the step that uses them: the order of work and the threads, not the work.
//
// A ring of slots; slot k holds the batches of steps k, k + n, k + 2 n, ... One thread begins the steps in order and reads their
// items in order; workers fill the items of any step; next() hands slots out in order. What a slot holds, and what went wrong
// while it was filled, is its owner's: callbacks must not throw.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "runtime/stream.h"

namespace mfl::data {

struct LoaderOptions {
  int workers = 4;    // 0: everything in next(), no thread
  int prefetch = 3;   // batches in the ring
};

class BatchRing {
 public:
  struct Work {
    std::function<int(std::size_t slot, std::uint64_t step)> begin;   // -> items of this step; 0: an empty batch
    std::function<void(std::size_t slot, int item)> read = {};        // in order, beside the workers; none where not given
    std::function<void(std::size_t slot, int item)> fill;             // any thread, any order
  };
  explicit BatchRing(LoaderOptions);
  ~BatchRing();
  BatchRing(const BatchRing&) = delete;
  BatchRing& operator=(const BatchRing&) = delete;

  std::size_t size() const;
  void start(Work);                      // once, when the slots are ready to be filled
  // The next step's slot, filled; waits for it. The slot of the call before may be filled again from now on.
  std::size_t next();
  std::uint64_t taken() const;           // steps that next() has handed out
  std::size_t current() const;           // of the last next(); an error before the first
  void uploaded(const Stream&);          // copies from the current slot are queued: it is not filled again before they are done
  double last_wait_seconds() const;      // of the last next()
  double total_wait_seconds() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mfl::data
