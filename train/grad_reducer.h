// GradReducer: averages the flat gradient buffer over the ranks while backward is still running.
//
// The buffer is cut into buckets of about `bucket_bytes`, in reverse registration order, because gradients complete in
// that order. A bucket is all-reduced on a stream of its own when the last of its trainable parameters is ready and every
// earlier bucket has been sent: the order of collectives is the same on every rank, whatever a rank's backward does. The
// compute stream waits for the last bucket in `join`; the host never waits.
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

#include "runtime/comm/communicator.h"
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
  std::int64_t elements() const;                 // sent per step
  // "gradient bucket 3 of 12 (transformer.11.mlp.fc2.weight to transformer.10.norm.weight, 33.5 MB)"
  std::string describe(std::size_t bucket) const;
  // The first bucket that was sent and has not completed, described; empty when none. From any thread (watchdog).
  std::string in_flight() const;

  // Of the last joined step that has completed on the device; nullopt before. Does not wait.
  struct Timing {
    double total_ms = 0;    // time on the communication stream, waits for backward included
    double exposed_ms = 0;  // what the compute stream waited for
  };
  std::optional<Timing> timing() const;

 private:
  struct Bucket {
    ParamRange range;
    std::size_t from, to;      // parameters, registration order
    int trainable = 0, waiting = 0;
    Event sent, done;
  };
  void send(const Ctx&, std::size_t bucket);

  const ParamStore& params_;
  Communicator& comm_;
  Stream stream_;
  std::vector<Bucket> buckets_;                  // in sending order
  std::vector<int> bucket_of_;                   // by parameter; -1: frozen
  std::vector<char> ready_;                      // by parameter
  bool reduce_ = false;
  std::atomic<std::size_t> next_{0};             // buckets sent in this step
  struct Join {
    Event reached, passed;                       // compute stream came to the join; communication done
    bool used = false;
    double host_ms = 0;                          // CPU: time inside the collectives
  };
  Join joins_[2];
  std::size_t steps_ = 0;
};

}  // namespace mfl
