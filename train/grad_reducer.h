// GradReducer: averages the flat gradient buffer over the ranks while backward is still running.
//
// The buffer is cut into buckets of about `bucket_bytes`, in reverse registration order, because gradients complete in
// that order. A bucket is all-reduced on a stream of its own when the last of its trainable parameters is ready and
// every earlier bucket has been sent: the order of collectives is the same on every rank, whatever a rank's backward
// does. The compute stream waits for the last bucket in `join`; the host never waits.
//
//   reducer.begin(last_micro_batch);
//   cx.grads_ready = [&](ParamRange r) { reducer.ready(cx, r); };
//   model.backward(...);
//   reducer.join(cx);
//
// Frozen parameters (trainable == false when the reducer is made) never block a bucket; long frozen runs are not sent.
// Parameters whose gradient is not computed in this step are sent by `join` as they stand in the buffer.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "runtime/comm/roll_call.h"
#include "runtime/module.h"

namespace mfl {

class GradReducer {
 public:
  // 32 MiB: long enough to use a link's full rate, short enough that the last bucket, which nothing hides, is a small
  // part of the whole.
  static constexpr std::size_t kBucketBytes = std::size_t{32} << 20;

  GradReducer(const ParamStore&, Communicator&, std::size_t bucket_bytes = kBucketBytes);

  // Starts a micro-batch. `reduce` is false on all but the last one before the optimizer: nothing is sent.
  void begin(bool reduce);
  // Every gradient in the range is final. Whole parameters only, each at most once a micro-batch.
  void ready(const Ctx&, ParamRange);
  // Sends what is left, then makes the compute stream wait for all buckets.
  void join(const Ctx&);

  std::size_t buckets() const { return buckets_.size(); }
  std::int64_t elements() const;  // sent per step
  // "gradient bucket 3 of 12 (transformer.11.mlp.fc2.weight to transformer.10.norm.weight, 33.5 MB)"
  std::string describe(std::size_t bucket) const;
  // The first bucket that was sent and has not completed, described; empty when none. From any thread (watchdog).
  InFlight in_flight() const;

  // Seconds that the host was inside collectives in this step, between begin and join; 0 where it does not wait in them (CUDA).
  double host_seconds() const { return comm_.size() > 1 ? steps_[step_ % 2].host_ms * 1e-3 : 0; }

  // Of the last joined step that has completed on the device; nullopt before. Does not wait.
  struct Timing {
    double total_ms = 0;    // time on the communication stream, waits for backward included
    double exposed_ms = 0;  // what the compute stream waited for
  };
  std::optional<Timing> timing() const;

 private:
  struct Bucket {
    ParamRange range;
    std::size_t first, last;  // parameters, registration order, both inclusive
    int trainable, waiting;   // parameters; those not ready yet
    Event ready, done;        // on the compute stream; on the communication stream
  };
  void send_next(const Ctx&);

  const ParamStore& params_;
  Communicator& comm_;
  Stream stream_;
  std::vector<Bucket> buckets_;  // in sending order
  std::vector<int> bucket_of_;   // by parameter; -1: frozen
  std::vector<char> ready_;      // by parameter, of this micro-batch
  bool active_ = false;          // this micro-batch is reduced, and there is somebody to reduce with
  // Read by the watchdog's thread.
  std::atomic<std::size_t> sent_{0};  // buckets handed to the communicator in this step
  std::atomic<bool> sending_{false};  // inside the communicator, with bucket sent_

  // Two steps' worth of events: the timing of the last one is read while the next one runs.
  struct Step {
    explicit Step(Device d) : begun(d), reached(d), passed(d) {}
    Event begun, reached, passed;  // first bucket starts; compute arrives at the join; last bucket is done
    double host_ms = 0;            // CPU: time inside the collectives
    bool joined = false;
  };
  Step& step() { return steps_[step_ % 2]; }
  Step steps_[2];
  std::size_t step_ = 0;
};

}  // namespace mfl
