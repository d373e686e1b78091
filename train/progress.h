// Progress for the person at the terminal: a line every print_every passes, and between them, on a terminal, one status
// line that is written over. Without a terminal there are only the plain lines.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "runtime/dtype.h"
#include "train/run_log.h"

namespace mfl {

// Sums of passes between two log steps. seconds: wall time of the pass; data_wait: the part of it spent waiting for
// data.
class PassMeter {
 public:
  void add(double seconds, double data_wait, std::int64_t samples) {
    ++passes_, seconds_ += seconds, data_wait_ += data_wait, samples_ += samples;
  }
  // Fills seconds_per_pass, samples_per_second and data_wait of the record, and starts anew.
  void take(StepRecord&);

 private:
  std::int64_t passes_ = 0, samples_ = 0;
  double seconds_ = 0, data_wait_ = 0;
};

// "pass 120/20000 | lr 2.4e-06 | loss 0.31240 (l2 0.10231, ssim 0.41002) | grad 0.83 | 1.54 samples/s | MFU 41.2 % of
// 989
//  TFLOP/s | data wait 0.3 % | 34.2 GiB | ETA 3 h 12 min | 118 applied (12 clipped), 2 skipped, 0 non-finite"
std::string progress_line(const StepRecord&);
// 75 s -> "1 min 15 s"; 11533 s -> "3 h 12 min"
std::string duration_text(double seconds);
std::string bytes_text(std::size_t);  // "34.2 GiB"

class Progress {
 public:
  // Rank 0 prints; `print_every` in passes. The status line goes to stderr when that is a terminal.
  Progress(bool first_rank, std::int64_t print_every);
  ~Progress();

  // Every pass. `record` need not be complete between prints. A line is printed for multiples of print_every, for the
  // first ten passes of a run, and for the last.
  bool due(std::int64_t pass, std::int64_t start_pass, std::int64_t total) const {
    return pass % print_every_ == 0 || pass - start_pass <= 10 || pass == total;
  }
  void print(const StepRecord&);
  void status(const StepRecord&);

 private:
  bool prints_, terminal_;
  std::int64_t print_every_;
  std::chrono::steady_clock::time_point last_status_{};
};

// Dense peak of a device's matrix units in FLOP/s at a compute type with f32 accumulation, by its name; 0 if not known.
// f32 is the vector units' rate. From the vendors' data sheets.
double peak_flops(const std::string& device_name, DType compute);

}  // namespace mfl
