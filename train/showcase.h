// What a validation shows of its first sample, made beside training: a thread of its own draws, encodes and writes it
// from host copies; the turntables' frames are rendered on a stream of its own with memory of its own, so that
// training's bits, its memory and its streams are what they are without.
//
//   <validation.output_dir>/iter_%08d/<sample>/{gt_vs_pred.png, input.png, gaussians.ply, viewer.html, turntable.png,
//   turntable.mp4}
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <future>
#include <string>
#include <vector>

#include "models/gslrm/renderer.h"
#include "train/config.h"
#include "train/turntable.h"
#include "train/validation_result.h"

namespace mfl {

// All tensors: host, f32, and nobody else's (handles are not shared between threads).
struct ShowcaseScene {
  std::int64_t pass = 0;
  std::string sample;
  std::vector<std::string> labels;           // of the compared views
  Tensor render, target;                     // [V, H, W, 3], [V, H, W, 3 or 4]
  Tensor inputs;                             // [I, H, W, 3 or 4]
  gslrm::Gaussians gaussians;                // all of the sample's
  gslrm::Cameras cameras;                    // of the compared views
  std::array<float, 3> background{1, 1, 1};  // of the sample's images: where the page begins
};

class Showcase {
 public:
  struct Shown {
    std::int64_t pass = 0;
    Facts files;                                                        // "ply", "viewer", "turntable", "video"
    std::vector<std::pair<std::string, ValidationResult::Png>> images;  // for the event file
    double seconds = 0;                                                 // that the thread took
    std::string error;  // the first thing that could not be written; empty: all is there
  };

  // `memory_bytes` bounds the memory on the device.
  Showcase(const GslrmConfig&, Device, std::size_t memory_bytes);
  ~Showcase();
  Showcase(const Showcase&) = delete;
  Showcase& operator=(const Showcase&) = delete;

  // The host does not wait, except for a scene that is still being shown.
  void show(ShowcaseScene);
  // What has been shown since the last call, if anything; `wait`: for what is being shown.
  std::vector<Shown> take(bool wait = false);

  // Device memory for scenes of so many Gaussians.
  static std::size_t device_bytes(const GslrmConfig&, std::int64_t gaussians);

 private:
  Shown make(const ShowcaseScene&);
  Tensor render(const gslrm::Gaussians& on_device,
                const gslrm::Cameras&);  // one camera, host tensors; [1, H, W, 3] on the device
  // Calls `each` with every frame, [H, W, 3] host, in order.
  void turn(const gslrm::Gaussians& on_device, const Turntable&, const std::function<void(int, ConstView)>& each);
  Turntable strip_table() const, video_table() const;
  void collect();

  GslrmConfig config_;
  Stream stream_;
  Arena memory_, splats_;
  gslrm::Renderer renderer_;
  std::future<Shown> showing_;
  std::vector<Shown> shown_;
};

}  // namespace mfl
