// Where the time of a run of mfl_infer goes: seconds by phase, of this rank.
//
// An image is a PLY after the phases from `input` to `ply`; `load` is paid once, and what comes after the PLY is no part of it.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string>

namespace mfl::infer {

enum class Phase : std::uint8_t {
  load,        // weights of both stages to the device
  input,       // an image read, cut out and framed; of a packed set, read
  sampling,    // the first stage: noise to six decoded views on the host
  views,       // their files, grid.png and views.json
  scene,       // the second stage's input: views and cameras read
  gaussians,   // the second stage and the copy to the host
  trim,        // filters, crop and pruning, with their report
  ply,
  formats,     // .splat, .spz
  measure,     // renders and metrics, where there is truth
  turntable,   // strip and film
  viewer,
  provenance,  // what is left of hashing checkpoints, and the file
  count
};

class Timings {
 public:
  void add(Phase p, double seconds) { seconds_[static_cast<std::size_t>(p)] += seconds; }
  void views(std::int64_t objects) { viewed_ += objects; }
  void scenes(std::int64_t objects) { shown_ += objects; }
  double seconds(Phase p) const { return seconds_[static_cast<std::size_t>(p)]; }
  bool empty() const { return viewed_ + shown_ == 0; }
  // Seconds from an image to its PLY, a mean over objects; of the stages that ran.
  double to_ply() const;
  // {"load": s, "objects": {"views": n, "scenes": n}, "seconds_an_object": {phase: s}, "image_to_ply": s}
  std::string json() const;
  // One line.
  std::string text() const;

 private:
  std::int64_t objects(Phase) const;
  std::array<double, static_cast<std::size_t>(Phase::count)> seconds_{};
  std::int64_t viewed_ = 0, shown_ = 0;
};

// Adds the time of its life; to none if there is no one to tell.
class Timed {
 public:
  Timed(Timings* to, Phase phase) : to_(to), phase_(phase) {}
  ~Timed() {
    if (to_) to_->add(phase_, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count());
  }
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

 private:
  Timings* to_;
  Phase phase_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace mfl::infer
