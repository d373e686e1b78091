#include "data/progress.h"

#include <unistd.h>

#include <cstdio>

namespace mfl::data {

void Progress::show(std::int64_t done, std::int64_t total, std::int64_t already) {
  if (total < 1) return;
  const auto now = std::chrono::steady_clock::now();
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double rate = seconds > 0 ? static_cast<double>(done - already) / seconds : 0;
  const auto left = static_cast<long long>(rate > 0 ? static_cast<double>(total - done) / rate : 0);
  const auto d = static_cast<long long>(done), t = static_cast<long long>(total);
  if (isatty(2)) {
    if (done != total && now - drawn_ < std::chrono::milliseconds(100)) return;
    drawn_ = now;
    char bar[31] = "..............................";
    for (long long i = 0; i < d * 30 / t; ++i) bar[i] = '#';
    std::fprintf(stderr, "\r%s [%s] %lld/%lld  %.1f/s  %lld:%02lld left %s", what_.c_str(), bar, d, t, rate, left / 60,
                 left % 60, done == total ? "\n" : "");
  } else if (const std::int64_t tenth = done * 10 / total; tenth != last_tenth_) {
    last_tenth_ = tenth;
    std::fprintf(stderr, "%s: %lld of %lld, %.1f/s, %lld:%02lld left\n", what_.c_str(), d, t, rate, left / 60,
                 left % 60);
  }
}

}  // namespace mfl::data
