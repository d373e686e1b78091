// Batches, ahead of the step: one reader thread takes chunks from the file, workers decode them into a ring of pinned host
// buffers, the trainer takes them in step order. Batch i is the same for any number of workers.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/batch_ring.h"
#include "data/dataset.h"
#include "runtime/arena.h"
#include "runtime/stream.h"

namespace mfl::data {

struct BatchViews {
  Tensor image;        // [B, V, H, W, C] f32 in [0, 1], composited; C = 3 or 4 (alpha last)
  Tensor c2w;          // [B, V, 4, 4] f32, row-major, OpenCV axes
  Tensor fxfycxcy;     // [B, V, 4] f32, pixels of `image`
  Tensor index;        // [B, V, 2] i64: view index in its sample, sample index in the set (ViewReader::file_index)
};

// The supervised views, and apart from them or among them the inputs.
struct Batch : BatchViews {
  std::int64_t step = 0;
  BatchViews input;    // the first num_input_views of these are inputs: the same tensors, or those of separate input views
  Tensor target;       // [B, V, c, c, C] f32: crops of `image`; empty without DatasetOptions::crop_size
  Tensor target_fxfycxcy;   // [B, V, 4] f32, pixels of `target`
  Tensor background;   // [B, 3] f32
  std::vector<std::string> names;   // of the samples
  int num_input_views = 0;
  bool separate_inputs = false;     // no supervised view is an input; else the first num_input_views are
  int supervised_inputs() const { return separate_inputs ? 0 : num_input_views; }
  std::int64_t size() const { return static_cast<std::int64_t>(names.size()); }
};

class Loader {
 public:
  // SamplerOptions::size above 0: the first so many samples of the data set; else all.
  Loader(std::shared_ptr<const Dataset>, SamplerOptions, LoaderOptions = {});
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // The next step's batch in pinned host memory; waits for it. Valid until the following call of next(). What went wrong
  // while it was made is thrown here, once per call, and names the sample. After the last step of a sampler with `once`
  // the batch is empty.
  const Batch& next();
  // Copies the batch of the last next() to the stream's device, ordered on the stream; does not block. The host buffers
  // are not reused before the copies are done. On the CPU the copy is the caller's own.
  Batch upload(const Stream&, Arena&);

  std::int64_t steps_per_epoch() const;
  // Behind the batch of the last next(), in the sampler's row: a later run's SamplerOptions::start.
  std::uint64_t position() const;
  double last_wait_seconds() const;    // of the last next()
  double total_wait_seconds() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mfl::data
