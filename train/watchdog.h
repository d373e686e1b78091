// Watchdog: a thread that turns silence into an error.
//
// The training loop says where it is (`phase`) at every phase of every step. When nothing is said for `limit_seconds`,
// or when the communicator reports a failure in the background, the watchdog logs one sentence that names the rank, the
// phase and what `where` adds (the gradient bucket in flight), and aborts the communicator, which releases the waiting
// threads and streams. Under MPI that ends all processes. Elsewhere the loop sees a CommError from its collective or
// from `check`; if it does not come back within `grace_seconds` (a kernel that hangs, a blocked file system), the
// process is ended with kExitComm.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "runtime/comm/communicator.h"

namespace mfl {

class Watchdog {
 public:
  // `limit_seconds` <= 0: only the communicator is watched. `where` is called from the watchdog's thread.
  Watchdog(Communicator&, double limit_seconds, std::function<std::string()> where = {}, double grace_seconds = 60);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // The loop is alive and enters this phase. A string literal: kept by pointer. Throws CommError once the watchdog
  // fired.
  void phase(const char* name);
  // Throws CommError once the watchdog fired.
  void check() const;

 private:
  using Clock = std::chrono::steady_clock;
  void watch();
  void fire(std::unique_lock<std::mutex>&, std::string why);

  Communicator& comm_;
  const std::chrono::duration<double> limit_, grace_;
  std::function<std::string()> where_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  const char* phase_ = "start";
  Clock::time_point since_ = Clock::now();
  std::string fired_;
  bool stop_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace mfl
