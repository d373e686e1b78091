// What a training step of the diffusion stage reads of a packed set: objects of V views, one of them the reference.
//
//   Views are composited and drawn in slot order; the reference is one of them, so a step has V distinct images an object. All
//   draws are keyed by (seed, purpose, pass, object): they do not depend on ranks, workers or order.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/loader.h"
#include "models/mvdiffusion/prompts.h"
#include "train/mvdiffusion/encoder_cache.h"
#include "train/mvdiffusion/object_views.h"

namespace mfl::mvdiffusion {

// Factors drawn for all views of an object alike, after compositing.
struct Jitter {
  std::array<double, 2> brightness{0.9, 1.1}, contrast{0.9, 1.1};
};

struct ObjectOptions {
  int views = 6, side = 512;                    // slots; images are resized to side x side
  ReferenceRule rule = ReferenceRule::fixed;
  int reference = 0;                            // of the fixed rule
  data::Background background = {};
  std::optional<Jitter> jitter = {};
  std::int64_t limit = 0;                       // > 0: the first objects only, each the same at every use
  std::uint64_t seed = 42;
};

// One use of an object, but for its pixels.
struct ObjectPlan {
  data::Pick pick;
  ViewOrder order;                              // of the slots: views of the sample, and prompts
  int reference_slot = 0;
  std::array<float, 3> background{};
  float brightness = 1, contrast = 1;
};

class ObjectSet {
 public:
  // Throws DataError: fewer views than slots, a table of prompts that does not fit.
  ObjectSet(std::shared_ptr<const data::ViewReader>, ObjectOptions);

  std::int64_t size() const;
  const ObjectOptions& options() const { return options_; }
  const data::ViewReader& reader() const { return *reader_; }

  ObjectPlan plan(const data::Pick&) const;
  // What the pixels of a slot's image follow from; nothing where they were drawn.
  std::optional<data::Hash> key(const ObjectPlan&, int slot) const;
  // Images of the slots [V, side, side, 3] f32 in [0, 1]; only of those with wanted[slot]. Any thread.
  //   rgb alpha + background (1 - alpha); clamp(brightness x); clamp((x - m) contrast + m), m the mean over all slots and the
  //   reference once more. Jittered objects are drawn whole.                 MouseMVDiffusionDataset of FaceLift's mouse fork
  void render(const ObjectPlan&, const std::vector<bool>& wanted, float* out) const;


 private:
  ViewOrder order(std::int64_t sample, int reference) const;
  std::shared_ptr<const data::ViewReader> reader_;
  ObjectOptions options_;
};

// A step's objects, O of them; n = o V + slot. Host memory, valid until the next step is asked for.
struct ObjectBatch {
  std::vector<StepImage> images;                // [O V]; the embedding is wanted of references
  Tensor pixels;                                // [O V, side, side, 3] f32; rows of known images are undefined
  std::vector<int> references;                  // [O]  slots
  std::vector<int> prompts;                     // [O V] rows of the prompt embeddings
  std::vector<std::string> names;               // [O]
  bool needs_pixels() const;
};

// Batches ahead of the step, drawn by a pool of threads into a ring of pinned memory; the same for any number of workers.
class ObjectLoader {
 public:
  // `cache` may be null. Images that it knows are not decoded.
  ObjectLoader(std::shared_ptr<const ObjectSet>, data::SamplerOptions, data::LoaderOptions, EncoderCache* cache);
  ~ObjectLoader();
  ObjectLoader(const ObjectLoader&) = delete;
  ObjectLoader& operator=(const ObjectLoader&) = delete;

  // Waits for the next step's batch. Throws what went wrong while it was made, naming the object.
  const ObjectBatch& next();
  // The batch's pixels on the stream's device; empty where none are needed. Does not block.
  Tensor upload(const Stream&, Arena&);

  std::int64_t steps_per_epoch() const;
  // Behind the batch of the last next(), in the sampler's row: a later run's SamplerOptions::start.
  std::uint64_t position() const;
  double last_wait_seconds() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mfl::mvdiffusion
