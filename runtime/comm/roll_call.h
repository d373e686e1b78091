// RollCall: every rank tells every other one, once a second, where it is. A collective that stalls says nothing about who is
// missing, and neither MPI nor NCCL can be asked while a thread is inside; so this goes beside them: a UDP socket and a thread of
// its own in every rank.
//
// Why datagrams: they need no connection that could hang, a write never waits, and what does not arrive is itself the message. Files
// in the run's folder would go with the same cable, and a process that waits for a network file system cannot even be ended.
// A stopped or dead process, a lost host and a cut cable all look the same, silent, and are called that. A rank whose main thread
// hangs goes on telling where.
//
// Traffic: a datagram of about 400 bytes to each other rank every `interval`, which grows with the number of ranks so that none sends
// more than some 64 a second. All IPv4 addresses of a host are tried. Where a firewall drops it, start-up says so once, ranks that were
// never heard are never called lost, and stalls are noticed by the watchdog's limit alone.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "runtime/comm/communicator.h"

namespace mfl {

// A collective that is not through, as its caller calls it; empty: none is known.
struct InFlight {
  std::string what;
  bool here = true;  // this rank's device has come to it
};

class RollCall {
 public:
  struct Place {
    std::string phase = "start";
    double seconds = 0;  // in it
    InFlight flight;
  };
  // What is known of a rank.
  struct Rank {
    int rank = 0;
    std::string host;
    bool heard = false, left = false;  // ever; it has said goodbye
    double silent = 0;                 // seconds since it was heard
    Place place;
    std::uint64_t begun = 0;  // Communicator::Progress
    bool inside = false;
    std::string call;
  };

  // Collective. Waits until all ranks have been heard, for 5 s at most.
  explicit RollCall(Communicator&, double interval_seconds = 1);
  ~RollCall();
  RollCall(const RollCall&) = delete;
  RollCall& operator=(const RollCall&) = delete;

  // Where this rank is; called from the thread of this object. Empty: nobody says. Returns when no call of the old one runs.
  void set_place(std::function<Place()>);

  // All ranks, in order. Time in which this process did not run itself (stopped, swapped out) is nobody's silence.
  std::vector<Rank> ranks() const;
  // Ranks that were heard, have not left, and have been silent for longer than this.
  std::vector<int> lost(double seconds) const;
  double interval() const { return interval_.count(); }

 private:
  using Clock = std::chrono::steady_clock;
  struct Peer {
    std::string host;
    std::vector<std::uint64_t> addresses;  // IPv4 and port, as they go into a sockaddr
    Rank known;
    Clock::time_point heard;
  };
  void tell(bool leaving) const;
  void listen();
  void run();
  Place place() const;

  Communicator& comm_;
  std::chrono::duration<double> interval_;
  std::uint64_t run_ = 0;  // of this run: whatever else arrives is not ours
  int socket_ = -1, wake_ = -1;
  mutable std::mutex place_mutex_;
  std::function<Place()> where_;
  mutable std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::vector<Peer> peers_;   // by rank
  std::size_t unheard_ = 0;
  Clock::time_point now_ = Clock::now();  // up to here everything that had arrived was read
  bool stop_ = false;
  std::thread thread_;
};

// "gradient bucket 1 of 3 (...) waits for rank 2 on b (in phase "data" for 6.0 s); ranks 0, 1, 3 arrived" A rank that has been silent for
// longer than `quiet` seconds counts as missing, whatever it said last.
std::string who_is_missing(const std::vector<RollCall::Rank>&, double quiet);

}  // namespace mfl
