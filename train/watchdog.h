// Watchdog: a thread that turns silence into an error.
//
// The training loop says where it is (`phase`) at every phase of every step. The run ends on all ranks when
//   - nothing is said for `stall` seconds;
//   - another rank has not been heard for `silence` seconds (roll_call.h): it was stopped or killed, its host or the network is
//     gone; at half that time there is a warning;
//   - the communicator reports a failure in the background.
// The watchdog logs one sentence that names this rank and its phase, the collective that waits (the gradient bucket, from
// `where`) and the ranks that did not come to it, and aborts the communicator, which releases the waiting threads and
// streams. Under MPI that ends all processes. Elsewhere the loop sees a CommError from its collective or from `check`.
// Where neither has happened within `grace` seconds (a kernel that hangs, a blocked file system, a launcher that cannot be
// reached), the process is ended with kExitComm.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "runtime/comm/roll_call.h"

namespace mfl {

class Watchdog {
 public:
  struct Limits {
    double stall = 600;   // 0: none
    double silence = 15;  // 0: none. Four intervals of the roll call at least
    double grace = 10;
  };
  // `where` is called from other threads. `ranks`, where there is one, outlives the watchdog, and one watchdog at a time speaks for it.
  Watchdog(Communicator&, Limits, std::function<InFlight()> where = {}, RollCall* ranks = nullptr);
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
  std::string verdict();  // why the run must end; empty while it need not
  RollCall::Place place() const;
  void fire(std::string why);

  Communicator& comm_;
  Limits limits_;
  std::function<InFlight()> where_;
  RollCall* ranks_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  const char* phase_ = "start";
  Clock::time_point since_ = Clock::now();
  std::string fired_;
  std::vector<int> silent_;  // ranks that have been warned of
  bool stop_ = false, aborted_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace mfl
