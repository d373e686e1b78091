// The checkpoints that a run may go back to: those that it wrote, and those that it began from.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace mfl {

class ReturnPoints {
 public:
  // `own`: written by this run. Others are never renamed.
  void add(std::int64_t pass, std::filesystem::path, bool own = true);
  // Those of earlier passes than `before` that are still there, newest first.
  std::vector<std::filesystem::path> sound(std::int64_t before) const;
  // Those of later passes than `pass` lose their names, so that no start takes them: `.unsound` is appended, an older one of that name
  // goes. Returns how many. What cannot be renamed stays, with a warning.
  int set_aside(std::int64_t pass);

 private:
  struct Point {
    std::int64_t pass;
    std::filesystem::path path;
    bool own;
  };
  std::vector<Point> points_;   // oldest first
};

}  // namespace mfl
