// How a run's state gets to disk beside training, whatever the files look like: device buffers are copied to pinned host
// memory by a stream of its own, which only the next update waits for; a thread of its own writes what is there. The next save
// waits for the one before it. What goes wrong in the thread is reported, and thrown, by the next call; or only reported, where
// training is to go on without that checkpoint. A state that is not finite is refused: the thread looks through the host copy first.
#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <future>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/error.h"
#include "runtime/io/stored_tensor.h"
#include "runtime/module.h"
#include "runtime/stream.h"
#include "train/sharding.h"

namespace mfl {

// A checkpoint that is on disk.
struct SavedCheckpoint {
  std::filesystem::path path;
  std::int64_t number = 0;    // of its name: the pass or the step
  double stall_seconds = 0;   // that training waited: the host in save(), the device before the next update
  double write_seconds = 0;   // from the end of the copy to the rename, beside training
  std::uint64_t bytes = 0;    // on disk
  bool verified = false;      // read back from the disk (--verify-checkpoints)
};

// A checkpoint that is not on disk, and why.
struct FailedSave {
  std::filesystem::path path;
  std::int64_t number = 0;
  std::string why;
  bool not_finite = false;   // the state was refused, before anything was written
};

// What a writer of checkpoints does beside writing.
struct SaveOptions {
  std::function<void(const SavedCheckpoint&)> done = {};
  std::function<void(const FailedSave&)> failed = {};
  bool go_on = false;    // after a failure; mfl.on_checkpoint_failure
  // Says what an element of a buffer is, where a state is refused because it is not finite.
  std::function<std::string(std::size_t buffer, std::int64_t element)> what = {};
  bool verify = false;   // every file is read from the disk again, with its CRCs, before it has its name and an older one goes
};

// A state with a number that is NaN or infinite. It is no failure of the disk: failed() hears of it, poll() and wait() do not throw it,
// whatever go_on says; the training loop decides.
struct NotFiniteState : DataError { using DataError::DataError; };

// "the second moment of transformer.0.mlp.fc1.weight": of an element of a buffer that is laid out as the store.
std::string element_of(const ParamStore&, std::string_view buffer, std::int64_t element);
// A buffer of the state that is saved; where `sharding` divides it, `held` is this rank's part and what is saved the whole.
struct SavedBuffer {
  SavedBuffer(Tensor t, const Sharding* s = nullptr) : held(std::move(t)), sharding(s) {}
  Shape shape() const { return sharding ? Shape{sharding->whole()} : held.shape(); }
  std::uint64_t bytes() const { return static_cast<std::uint64_t>(shape().numel()) * size_of(held.dtype()); }
  bool divided() const { return sharding && sharding->divided(); }
  Tensor held;
  const Sharding* sharding;   // outlives this
};

class BackgroundSave {
 public:
  // `compute`: the stream on which the buffers change; must outlive this. Takes pinned host memory for one copy of the buffers at
  // once, so that no save does.
  BackgroundSave(const Stream& compute, std::vector<SavedBuffer> buffers, SaveOptions);
  ~BackgroundSave();   // waits; a failure is logged
  BackgroundSave(const BackgroundSave&) = delete;
  BackgroundSave& operator=(const BackgroundSave&) = delete;

  // Waits for the save before and reports it, queues the copy (collective where a buffer is divided: the other ranks call
  // StateSender::start); when that is through, `write` runs on its thread. It reads the
  // copies by piece() and must not touch tensors: their handles are the caller's thread's. Returns the bytes on disk.
  void start(std::filesystem::path path, std::int64_t number, std::function<std::uint64_t()> write);
  // Call before the buffers change: the stream waits for the copy, the host does not.
  void before_update();
  void poll();   // reports a finished save, if there is one; throws what went wrong unless the run is to go on
  void wait();   // the same, for the save in progress
  // The same at the end of a run, which a failure of the last save always is: why it failed, or null.
  std::exception_ptr finish();

  // Elements of a buffer's copy from `first` on, for `write`.
  io::StoredTensor piece(std::size_t buffer, std::int64_t first, Shape) const;
  // A parameter's slice of a buffer laid out as its store, under its name and in its published shape.
  io::NamedStored piece(std::size_t buffer, const Param&) const;

  static std::uint64_t staging_bytes(const std::vector<SavedBuffer>& buffers);

 private:
  void refuse_non_finite() const;
  const Stream& compute_;
  std::vector<SavedBuffer> buffers_;
  std::vector<std::uint64_t> first_byte_;   // of each buffer's copy
  std::vector<Shape> shapes_;
  std::vector<DType> types_;
  SaveOptions options_;
  Tensor staging_;
  ConstView staged_;
  Stream stream_;
  Event ready_, copied_, before_wait_, after_wait_;
  bool copying_ = false, waited_ = false;
  SavedCheckpoint current_;
  struct Written {
    double seconds;
    std::uint64_t bytes;
  };
  std::future<Written> writing_;
  std::exception_ptr failure_;   // of the last save
};

// The part of the ranks that write no checkpoint: of the same buffers, those that are divided go to the one that does, by a stream
// of its own too. The host calls the communicator from the thread that drives training, so its collectives stay in one order.
class StateSender {
 public:
  StateSender(const Stream& compute, std::vector<SavedBuffer> buffers);
  void start();           // wherever the other rank calls BackgroundSave::start
  void before_update();   // as BackgroundSave's

 private:
  const Stream& compute_;
  std::vector<SavedBuffer> buffers_;
  Stream stream_;
  Event ready_, sent_;
  bool sending_ = false;
};

// A warning when `checkpoints` of `bytes` each do not fit beside what is in the folder; empty when they do, or nobody knows.
// `remedy` ends it: which keys make fewer of them.
std::string disk_forecast(const std::filesystem::path& folder, std::int64_t checkpoints, std::uint64_t bytes, std::string_view remedy);

}  // namespace mfl
