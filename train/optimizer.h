// AdamW over a parameter store, with the gradient norm, clipping, the skip rule and the update ledger's verdict all decided
// on the device: the host queues a step and reads what happened one step later.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/optim/adamw.h"
#include "kernels/optim/grad_norm.h"
#include "runtime/module.h"
#include "train/sharding.h"

namespace mfl {

// Which parameters share a weight decay and a factor on the learning rate. Their order, each group's in registration order, is
// the order of a checkpoint's optimizer state.
struct ParamGroups {
  std::vector<AdamWGroup> groups;                   // at most kAdamWGroups
  std::function<std::size_t(const Param&)> of;      // index into groups

  // GS-LRM's: tensors of two or more axes decay; then the rest, which does not.
  static ParamGroups matrices_decay(double weight_decay);
  // MVDiffusion's: everything decays; `class_embedding` and `camera_embedding`, then `attn_mv` and `norm_mv`, have a learning
  // rate of their own (camera_embedding_lr_mult). Source: train_diffusion.py.
  static ParamGroups embeddings_apart(double weight_decay, double learning_rate_factor);
};

struct OptimizerConfig {
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  ParamGroups groups = ParamGroups::matrices_decay(0.05);
  double max_norm = 1;           // clip; <= 0: none
  bool moments_on_host = false;  // host_memory.h
  double allowed_factor = 20;    // a norm above allowed_factor * max_norm leaves the step out; <= 0: no rule
};

class Optimizer {
 public:
  // Trainable parameters of the sealed store only; moments live in the store's layout, from `arena`: this rank's part of it
  // where `sharding` divides them (null: it does not).
  Optimizer(const Stream&, Arena&, ParamStore&, OptimizerConfig, std::shared_ptr<const Sharding> sharding = nullptr);

  // Gradients in the store hold the sum over `micro_batches`, averaged over ranks. `loss` [m] decides with them whether the
  // step is finite; ranks must agree on it. Collective where the state is divided: afterwards all ranks have all parameters.
  void step(const Stream&, double learning_rate, int micro_batches, ConstView loss);

  // Copies the scalars of the last step to the host, asynchronously; `take` waits for that copy and returns them.
  void request(const Stream&);
  StepScalars take();
  bool pending() const { return pending_; }

  void reset(const Stream&);   // as made: no update, moments of zero
  // State of a checkpoint: updates applied so far, and the moments in the parameters' layout.
  void set_updates(const Stream&, std::int64_t updates);
  const Tensor& exp_avg() const { return exp_avg_; }         // [sharding().held()]
  const Tensor& exp_avg_sq() const { return exp_avg_sq_; }
  const Sharding& sharding() const { return *sharding_; }
  const OptimizerConfig& config() const { return config_; }
  // Name of the parameter behind StepScalars::bad_segment.
  const std::string& segment_name(std::int64_t segment) const;

  // Trainable parameters of each group. A parameter's index in the concatenation is its key in a checkpoint's optimizer state.
  std::vector<std::vector<const Param*>> grouped() const;

 private:
  ParamStore& store_;
  OptimizerConfig config_;
  std::shared_ptr<const Sharding> sharding_;
  std::vector<const Param*> segments_;
  Tensor exp_avg_, exp_avg_sq_, chunks_, partial_, scalars_;
  struct Held {                  // what this rank updates, and its chunk_table, counted from the part's first element
    Sharding::Part part;
    Tensor chunks;
  };
  std::vector<Held> held_;
  struct Pinned;
  std::shared_ptr<Pinned> host_;
  bool pending_ = false;
};

}  // namespace mfl
