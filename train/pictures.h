// Pictures of what a step trains on, beside training: renders and targets are copied to pinned host memory in stream order,
// drawn, encoded and written by a thread of their own.
//
//   <checkpoint_dir>/iter_%08d/supervision_<sample>.png      a labelled panel (panels.h) for each of the first two samples
#pragma once

#include <cstdint>
#include <filesystem>
#include <future>
#include <string>
#include <utility>
#include <vector>

#include "data/loader.h"
#include "runtime/stream.h"
#include "train/panels.h"

namespace mfl {

class TrainingPictures {
 public:
  static constexpr std::int64_t kSamples = 2;   // of a batch; bounds the staging
  struct Picture {
    std::string name;                // "supervision_0"
    int width = 0, height = 0;
    std::string png;
  };
  struct Drawn {
    std::int64_t pass = 0;
    std::vector<Picture> pictures;   // for the event file
    std::string error;               // why files are missing; empty: all were written
  };

  // `views`, `side` and `channels` of the targets: the staging is taken here. [kSamples or B, views, side, side, 3 + channels]
  TrainingPictures(std::filesystem::path folder, Device, std::int64_t batch, std::int64_t views, std::int64_t side,
                   std::int64_t channels);
  ~TrainingPictures();
  TrainingPictures(const TrainingPictures&) = delete;
  TrainingPictures& operator=(const TrainingPictures&) = delete;

  // Queues the copies; the host does not wait, except for pictures that are still being drawn. `pass` names the folder.
  //   render [B*V, h, w, 3], target [B*V, h, w, C]: f32 on the stream's device; batch: the host's.
  void request(const Stream&, const Tensor& render, const Tensor& target, const data::Batch& batch, std::int64_t pass);
  // What has been drawn since the last call, if anything; `wait`: for what is being drawn.
  std::vector<Drawn> take(bool wait = false);
  std::size_t staging_bytes() const { return render_.bytes() + target_.bytes(); }

 private:
  void collect();
  std::filesystem::path folder_;
  Tensor render_, target_;           // pinned
  Event copied_;
  std::future<Drawn> drawing_;
  std::vector<Drawn> drawn_;
};

}  // namespace mfl
