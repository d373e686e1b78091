// How long a run is, and what changes with its step: learning rate and loss weights. Pure functions of the
// configuration.
//
// A pass is one forward and backward of one micro-batch on every rank; an update is grad_accum_steps passes.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <string>

#include "train/config.h"

namespace mfl {

// Source: create_job_overview, gslrm/model/utils_train.py. Two things differ, on purpose: a run ends after exactly
// total_passes (the published loop rounds max_fwdbwd_passes up to whole epochs and goes one pass further, and its early
// stops come one epoch early or one pass late); and lr_updates is never below the number of updates that will happen
// (published: rounded down an epoch, 0 where an epoch is shorter than an accumulation, after which the cosine rises
// again).
struct JobOverview {
  std::int64_t samples = 0, ranks = 1;
  std::int64_t batch_size = 0;         // samples a pass, all ranks
  std::int64_t passes_per_epoch = 0;   // max(1, floor(samples / batch_size))
  std::int64_t updates_per_epoch = 0;  // floor(passes_per_epoch / grad_accum_steps)
  std::int64_t epochs = 0;             // min(num_epochs, floor(max_fwdbwd_passes / passes_per_epoch) + 1)
  std::int64_t total_passes = 0;       // exact
  std::int64_t total_updates = 0;      // floor(total_passes / grad_accum_steps)
  std::int64_t lr_updates = 0;         // horizon of the learning rate: whole epochs, as published, or mfl.lr_updates
};

inline JobOverview job_overview(const GslrmConfig& config, std::int64_t samples, int ranks) {
  const TrainingConfig& t = config.training;
  const auto& s = t.schedule;
  JobOverview j;
  j.samples = samples;
  j.ranks = ranks;
  j.batch_size = std::int64_t{t.dataloader.batch_size_per_gpu} * ranks;
  j.passes_per_epoch = std::max<std::int64_t>(1, samples / j.batch_size);
  j.updates_per_epoch = j.passes_per_epoch / t.runtime.grad_accum_steps;
  j.epochs = std::min(s.num_epochs, s.max_fwdbwd_passes / j.passes_per_epoch + 1);
  const auto passes_of = [&](std::int64_t epochs) {
    return epochs > s.max_fwdbwd_passes / j.passes_per_epoch ? s.max_fwdbwd_passes : epochs * j.passes_per_epoch;
  };
  j.total_passes = std::min(
      {s.max_fwdbwd_passes, s.early_stop_after, passes_of(s.num_epochs), passes_of(s.early_stop_after_epochs)});
  j.total_updates = j.total_passes / t.runtime.grad_accum_steps;
  j.lr_updates =
      config.mfl.lr_updates > 0 ? config.mfl.lr_updates : std::max(j.updates_per_epoch * j.epochs, j.total_updates);
  return j;
}

// What a fresh run, or one that stands at `passes_done`, is going to do: one sentence for the log.
inline std::string describe(const JobOverview& j, std::int64_t passes_done = 0) {
  if (passes_done >= j.total_passes)
    return text("nothing to do: the run stands at pass ", passes_done, " and ends at ", j.total_passes,
                ". Raise training.schedule.max_fwdbwd_passes, or start anew from the weights with mfl.init.");
  return text("passes ", passes_done + 1, " to ", j.total_passes, " (", j.total_updates, " updates; ",
              j.passes_per_epoch, " passes an epoch of ", j.samples, " samples, ", j.batch_size, " a pass on ", j.ranks,
              j.ranks == 1 ? " rank" : " ranks", "); the learning rate's schedule ends at update ", j.lr_updates);
}

enum class LrSchedule { cosine, linear, constant };
inline LrSchedule lr_schedule(const MflConfig& m) {
  return m.lr_schedule == "linear"     ? LrSchedule::linear
         : m.lr_schedule == "constant" ? LrSchedule::constant
                                       : LrSchedule::cosine;
}

// Learning rate of update s (0-based; skipped updates count), warm-up w, horizon U:
//   s < w    lr s / w                                   (the first update has rate 0 when w > 0, as published)
//   cosine   lr max(0, (1 + cos(pi p)) / 2),  p = min(1, (s - w) / max(1, U - w))     (stays at 0 beyond U)
//   linear   lr (1 - p)            constant   lr
// Source: utils_train.py, create_lr_scheduler, and the schedules of transformers that it copies.
inline double learning_rate(LrSchedule schedule, double lr, std::int64_t s, std::int64_t w, std::int64_t U) {
  if (s < w) return lr * (static_cast<double>(s) / static_cast<double>(w));
  const double p = std::min(1.0, static_cast<double>(s - w) / static_cast<double>(std::max<std::int64_t>(1, U - w)));
  switch (schedule) {
    case LrSchedule::cosine:
      return lr * std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * p)));
    case LrSchedule::linear:
      return lr * (1.0 - p);
    case LrSchedule::constant:
      return lr;
  }
  return lr;
}

// Length of a schedule that began after `start` updates of the run (optimizer.reset_lr): what is left, or mfl.lr_updates.
inline std::int64_t horizon(const JobOverview& j, const MflConfig& m, std::int64_t start) {
  return m.lr_updates > 0 ? j.lr_updates : std::max<std::int64_t>(1, j.lr_updates - start);
}

// The loss configuration in force at a step: the number of passes done before it.
//   warmup_pointsdist and step < 1000:   l2 = 0, perceptual = 0, pointsdist = 0.1
//   step < l2_warmup_steps:              lpips = 0, perceptual = 0
// Weights only fall; a network whose weight is 0 now is still needed later. Source: set_training_step, gslrm.py.
inline constexpr std::int64_t kPointsdistWarmup = 1000;
inline gslrm::LossConfig losses_at(const TrainingConfig& t, std::int64_t step) {
  gslrm::LossConfig l = t.losses;
  if (l.warmup_pointsdist && step < kPointsdistWarmup) {
    l.l2_loss_weight = 0;
    l.perceptual_loss_weight = 0;
    l.pointsdist_loss_weight = 0.1;
  }
  if (step < t.schedule.l2_warmup_steps) {
    l.lpips_loss_weight = 0;
    l.perceptual_loss_weight = 0;
  }
  return l;
}

}  // namespace mfl
