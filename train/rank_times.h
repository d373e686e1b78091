// How long every rank works on an update by itself, and which one is slower than the others.
//
// A rank's own time: its micro-batches from the moment that their data are there to the end of backward, on the device's clock,
// without what it spent inside collectives; and beside it the time that it waited for data. Both travel with the losses' reduction
// of a later update: no collective of their own, and no wait.
//
// A rank is slow when its own time and data wait together are above factor x the median over ranks (the lower one of an even number)
// in kRow updates in a row. It is said once, and again when it was not slow for an update, or after kQuiet updates.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/comm/communicator.h"
#include "runtime/tensor.h"

namespace mfl {

// [ranks], in rank order: seconds an update.
struct RankSeconds {
  std::vector<double> own, data_wait;
};
struct SlowRank {
  int rank = 0;
  std::string host;
  double seconds = 0, data_wait = 0, median = 0;   // an update, means over the row; seconds with data_wait
};

class RankTimes {
 public:
  static constexpr std::int64_t kRow = 20, kQuiet = 1000;
  // Collective: host names. factor 0: nobody is slow.
  RankTimes(Communicator&, int micro_batches, double factor);
  ~RankTimes();
  RankTimes(const RankTimes&) = delete;
  RankTimes& operator=(const RankTimes&) = delete;

  std::int64_t places() const { return 2 * size_; }   // f32, that travel with the losses
  // Around a micro-batch's work on the device.
  void begin(const Stream&, bool first, double waited_for_data);
  void end(const Stream&);
  // Into the places, before they are averaged over ranks. `in_collectives`: seconds of this update between begin and end.
  void put(const Stream&, View places, double in_collectives);
  void request(const Stream&, ConstView places);      // after it
  std::optional<SlowRank> take();                     // when that update has completed on the device
  RankSeconds mean();                                 // since the last call; empty for one rank

 private:
  struct Slot {
    std::vector<Event> begun, ended;                  // by micro-batch
    std::size_t count = 0;
    double waited = 0, in_collectives = 0;
    Tensor mine, all;                                 // [places] f32, pinned
    Event copied;
  };
  void collect(Slot&);
  std::optional<SlowRank> judge(const std::vector<double>& own, const std::vector<double>& wait);

  int rank_, size_;
  double factor_;
  std::vector<std::string> hosts_;
  std::vector<Slot> slots_;                           // two, for the update that runs and the one before
  std::size_t at_ = 0, requested_ = 0;
  double own_ = 0, waited_ = 0;                       // of the last update whose events have been read
  RankSeconds sum_;
  std::int64_t updates_ = 0;                          // in the sums
  struct Row {                                        // of updates in which a rank was slow
    std::int64_t updates = 0, quiet = 0;              // quiet: updates until it may be said again
    double all = 0, wait = 0, median = 0;             // sums
  };
  std::vector<Row> rows_;                             // by rank
};

}  // namespace mfl
