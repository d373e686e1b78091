// How far a long command is, on stderr: one moving line on a terminal, else a line every tenth.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace mfl::data {

class Progress {
 public:
  explicit Progress(std::string what) : what_(std::move(what)), start_(std::chrono::steady_clock::now()) {}
  // `already` of the done ones are from an earlier run and say nothing about the speed.
  void show(std::int64_t done, std::int64_t total, std::int64_t already = 0);

 private:
  std::string what_;
  std::chrono::steady_clock::time_point start_, drawn_{};
  std::int64_t last_tenth_ = -1;
};

}  // namespace mfl::data
