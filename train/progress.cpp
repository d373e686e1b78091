#include "train/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>

#include "runtime/log.h"

namespace mfl {

void PassMeter::take(StepRecord& r) {
  if (passes_ > 0) {
    r.seconds_per_pass = seconds_ / static_cast<double>(passes_);
    r.data_wait = data_wait_ / static_cast<double>(passes_);
    r.samples_per_second = seconds_ > 0 ? static_cast<double>(samples_) / seconds_ : 0;
  }
  *this = {};
}

std::string duration_text(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "unknown";
  const auto s = static_cast<std::int64_t>(std::llround(seconds));
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{} min {} s", s / 60, s % 60);
  if (s < 48 * 3600) return fmt::format("{} h {} min", s / 3600, s % 3600 / 60);
  return fmt::format("{} days {} h", s / 86400, s % 86400 / 3600);
}

std::string bytes_text(std::size_t bytes) {
  const auto b = static_cast<double>(bytes);
  if (bytes >= std::size_t{1} << 30) return fmt::format("{:.1f} GiB", b / (1 << 30));
  return fmt::format("{:.1f} MiB", b / (1 << 20));
}

std::string progress_line(const StepRecord& r) {
  std::string s = fmt::format("pass {}/{} | lr {:.3g}", r.pass, r.total_passes, r.learning_rate);
  if (!r.losses.empty()) {
    s += fmt::format(" | {} {:.5f}", r.losses[0].first, r.losses[0].second);
    std::string terms;
    for (std::size_t i = 1; i < r.losses.size(); ++i)
      terms += fmt::format("{}{} {:.5f}", i > 1 ? ", " : "", r.losses[i].first, r.losses[i].second);
    if (!terms.empty()) s += " (" + terms + ")";
  }
  s += fmt::format(" | grad {:.3g}", r.grad_norm);
  if (r.samples_per_second > 0) s += fmt::format(" | {:.3g} samples/s", r.samples_per_second);
  if (r.mfu() > 0) s += fmt::format(" | MFU {:.1f} % of {:.0f} TFLOP/s", 100 * r.mfu(), r.peak_flops / 1e12);
  if (r.seconds_per_pass > 0) {
    s += fmt::format(" | data wait {:.1f} %", 100 * r.data_wait / r.seconds_per_pass);
    if (r.memory_bytes > 0) s += " | " + bytes_text(r.memory_bytes);
    s += " | ETA " + duration_text(r.seconds_per_pass * static_cast<double>(r.total_passes - r.pass));
  }
  const LedgerCounts& c = r.ledger;
  s += fmt::format(" | {} applied ({} clipped), {} skipped, {} non-finite", c.applied, c.clipped, c.norm_skip,
                   c.non_finite);
  return s;
}

Progress::Progress(bool first_rank, std::int64_t print_every)
    : prints_(first_rank), terminal_(first_rank && ::isatty(STDERR_FILENO) != 0), print_every_(print_every) {}
Progress::~Progress() {
  if (terminal_) std::fputs("\033[K", stderr);
}

void Progress::print(const StepRecord& r) {
  if (!prints_) return;
  if (terminal_) std::fputs("\033[K", stderr);  // the status line gives way
  log_info(progress_line(r));
}

void Progress::status(const StepRecord& r) {
  constexpr auto kPause = std::chrono::milliseconds(200);
  const auto now = std::chrono::steady_clock::now();
  if (!terminal_ || now - last_status_ < kPause) return;
  last_status_ = now;
  // The cursor stays at the line's beginning, so that whoever writes next writes over it.
  std::fputs(fmt::format("\033[K{}\r", progress_line(r).substr(0, 110)).c_str(), stderr);
  std::fflush(stderr);
}

double peak_flops(const std::string& name, DType compute) {
  struct Row {
    const char* part;  // of the device's name; the first match counts
    double bf16, f32;  // TFLOP/s
  };
  static constexpr Row kRows[] = {
      {"H100 PCIe", 756, 51},     {"H100 NVL", 835, 60},      {"H100", 989, 67},           {"H200", 989, 67},
      {"H800", 989, 67},          {"GH200", 989, 67},         {"B200", 2250, 80},          {"B100", 1750, 60},
      {"A100", 312, 19.5},        {"A800", 312, 19.5},        {"A40", 149.7, 37.4},        {"A30", 165, 10.3},
      {"RTX A6000", 154.8, 38.7}, {"RTX A5000", 111.1, 27.8}, {"RTX 6000 Ada", 364, 91.1}, {"L40S", 362, 91.6},
      {"L40", 181, 90.5},         {"L4", 121, 30.3},          {"RTX 5090", 209.5, 104.8},  {"RTX 4090", 165.2, 82.6},
      {"RTX 3090", 71, 35.6},     {"RTX 3080", 59.5, 29.8},   {"RTX 3060", 25.5, 12.7},
  };
  for (const Row& r : kRows)
    if (name.find(r.part) != std::string::npos) return 1e12 * (compute == DType::bf16 ? r.bf16 : r.f32);
  return 0;
}

}  // namespace mfl
