// Device time of something that queues work on a stream.
#pragma once

#include <algorithm>
#include <functional>
#include <vector>

#include "runtime/arena.h"
#include "runtime/stream.h"

namespace mfl::bench {

struct DeviceTime {
  double ms = 0;   // median of the repeats, after one run that is not timed
  double gib = 0;  // peak of `arena` in a run
};

// `run` begins and ends its own use of the arena; the arena's step begins anew after the first run.
inline DeviceTime device_time(const Stream& s, Arena& arena, int repeats, const std::function<void()>& run) {
  run();
  arena.begin_step();
  std::vector<double> times;
  for (int i = 0; i < repeats; ++i) {
    const Event begin = s.record();
    run();
    const Event end = s.record();
    end.synchronize();
    times.push_back(end.milliseconds_since(begin));
  }
  std::nth_element(times.begin(), times.begin() + repeats / 2, times.end());
  return {times[static_cast<std::size_t>(repeats / 2)], static_cast<double>(arena.step_peak_bytes()) / double(1 << 30)};
}

}  // namespace mfl::bench
