// The state dicts of torch.optim.AdamW and LambdaLR: what our checkpoints hold so that Python resumes them, and what Python's
// hold. Layout of PyTorch 2.4.
#pragma once

#include <functional>
#include <string_view>

#include "runtime/io/value.h"
#include "train/optimizer.h"

namespace mfl {

enum class Moment { exp_avg, exp_avg_sq };

struct AdamWState {
  const Optimizer& optimizer;
  std::int64_t updates = 0;                    // applied; 0: state is empty, as before the first step
  double learning_rate = 0;                    // of the next update, and the schedule's base; groups' factors are applied to both
  double base_learning_rate = 0;
  io::Value fused = {};                        // None or True: which implementation Python goes on with
  bool empty_groups = true;                    // write groups without members
  // A moment of a parameter as it is to be written, in its published shape.
  std::function<io::StoredTensor(Moment, const Param&)> piece;
};
// {state: {i: {step, exp_avg, exp_avg_sq}}, param_groups: [...]}
io::Value adamw_state_dict(const AdamWState&);

// LambdaLR over the same groups. `lambda`: the entry of a group in lr_lambdas, None for a function.
io::Value lambda_lr_state_dict(const AdamWState&, std::int64_t last_epoch, const io::Value& lambda);

// Names that fit and those that do not, before anything is taken. Throws DataError, beginning with `file`: another number of
// tensors, groups of other sizes (`remedy` ends these), a moment of another shape, states of other optimizers (8-bit AdamW).
void check_adamw_state(const Optimizer&, const io::Value& state_dict, std::string_view file, std::string_view remedy);
// Moments into the optimizer; returns the updates that were applied. The device counter follows (set_updates).
std::int64_t load_adamw_state(const Stream&, Optimizer&, const io::Value& state_dict);

}  // namespace mfl
