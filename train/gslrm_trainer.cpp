#include "train/gslrm_trainer.h"

#include <fmt/format.h>

#include <bit>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "data/loader.h"
#include "models/weights/coverage.h"
#include "runtime/io/atomic_file.h"
#include "runtime/log.h"
#include "runtime/profile.h"
#include "train/agreed_failure.h"
#include "train/checkpoint.h"
#include "train/grad_reducer.h"
#include "train/gslrm_stage.h"
#include "train/idle_losses.h"
#include "train/loss_readback.h"
#include "train/pictures.h"
#include "train/plan.h"
#include "train/rank_times.h"
#include "train/resume_newest.h"
#include "train/run_folders.h"
#include "train/run_report.h"
#include "train/schedule.h"
#include "train/showcase.h"
#include "train/signals.h"
#include "train/test_hooks.h"
#include "train/training_data.h"
#include "train/update_samples.h"
#include "train/validation.h"
#include "train/watchdog.h"

namespace mfl {
namespace {

namespace fs = std::filesystem;
using gslrm::kTerms;

double seconds_since(std::chrono::steady_clock::time_point t) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - t).count();
}

// A configuration's data set; `own` (mfl.data.train or .val) comes before `list`.
std::shared_ptr<const data::ViewReader> open_data(const GslrmConfig& c, const std::string& packed, const std::string& own,
                                                  const std::string& list, Communicator& comm, const data::ViewReader* checked = nullptr) {
  return open_training_data({.packed = packed, .own = own, .list = list, .cache = fs::path(c.log_dir()) / "packed",
                             .image_size = c.model.image_tokenizer.image_size,
                             .normalised_later = c.mouse.use_mouse_dataset && (c.mouse.normalize_cameras || c.mouse.target_camera_distance > 0),
                             .allow_unsound = c.mfl.allow_unsound_data}, comm, checked);
}

gslrm::Views inputs_of(const data::Batch& b) { return {b.input.image, b.input.c2w, b.input.fxfycxcy}; }
gslrm::Views targets_of(const data::Batch& b) {
  return b.target ? gslrm::Views{b.target, b.c2w, b.target_fxfycxcy} : gslrm::Views{b.image, b.c2w, b.fxfycxcy};
}

// Where a run begins, and how.
struct Beginning {
  RunState state;
  std::string how = "new";   // for the record
  fs::path resumed = {};     // from here; empty: it was initialised, or is fresh
};

// Whether a checkpoint is one of this run's folder.
bool own_checkpoint(const GslrmConfig& c, const fs::path& p) {
  std::error_code missing;
  return fs::equivalent(fs::absolute(p).parent_path(), c.training.checkpointing.checkpoint_dir, missing);
}

Beginning resume_from(GslrmStage& stage, const GslrmConfig& c, const Communicator& comm, const fs::path& p) {
  Resumed r = resume(stage, p, c.mfl.allow_missing);
  if (comm.rank() == 0) log_info(r.coverage.table());
  if (comm.rank() == 0) log_info("resume: from ", p.string(), " at pass ", r.state.passes, ", ", r.state.updates, " updates applied");
  const auto& o = c.training.optimizer;
  if (comm.rank() == 0 && o.lr != r.learning_rate)
    log_info("the learning rate is the configuration's, ", o.lr, "; ", p.string(), " was written with ", r.learning_rate);
  // A run's own checkpoints go on with its schedule, whichever it was.
  if (o.reset_lr && !own_checkpoint(c, p)) {
    r.state.schedule_start = r.state.passes / c.training.runtime.grad_accum_steps, r.state.schedule_updates = 0;
    if (comm.rank() == 0) log_info("reset_lr: a new schedule with its own warm-up begins here");
  }
  return {r.state, "resumed from " + p.string(), p};
}

// Resumed, initialised, or fresh; `anew`: not resumed. Says which.
Beginning begin(GslrmStage& stage, const GslrmConfig& c, Communicator& comm, bool anew = false) {
  const auto& ck = c.training.checkpointing;
  Beginning b;
  gslrm::initialise(stage.stream, stage.params, c.mfl.seed);
  auto say = [&](const std::string& line) {
    if (comm.rank() == 0) log_info(line);
  };
  auto do_resume = [&](const fs::path& p) { b = resume_from(stage, c, comm, p); };
  const bool explicit_path = !anew && c.mfl.resume != "auto" && c.mfl.resume != "never";
  const std::vector<CheckpointFile> own = list_checkpoints(ck.checkpoint_dir);
  if (explicit_path) {
    const fs::path p = comm.broadcast_text(newest_checkpoint(c.mfl.resume).string(), 0);
    if (p.empty())
      throw_error<ConfigError>("mfl.resume: there is no checkpoint at ", c.mfl.resume, "; use auto, never, or a ckpt_*.pt file");
    do_resume(p);
    if (comm.rank() == 0 && !own.empty() && own.back().pass > b.state.passes)
      log_warning(ck.checkpoint_dir, " holds a later checkpoint, of pass ", own.back().pass, ", and mfl.resume goes back to pass ", b.state.passes,
                  ": what follows will be trained again, and written over. `--resume auto` goes on from the latest.");
    return b;
  }
  if (!anew && c.mfl.resume == "auto" && !ck.force_resume_ckpt) {
    std::vector<fs::path> newest_first;
    for (const CheckpointFile& f : own) newest_first.insert(newest_first.begin(), f.path);
    if (resume_first_that_fits(comm, newest_first, do_resume)) {
      if (!c.mfl.init.empty())
        say(text("mfl.init (", c.mfl.init, ") is not read: the run in ", ck.checkpoint_dir, " goes on. `--resume never` or another folder starts anew"));
      return b;
    }
  } else if (!anew && !own.empty()) {
    say(text(ck.checkpoint_dir, " holds checkpoints up to pass ", own.back().pass, ", which are not read: ",
             ck.force_resume_ckpt ? "force_resume_ckpt is set" : "mfl.resume is never"));
  }
  auto do_initialise = [&](const std::string& from) {
    const fs::path p = newest_checkpoint(from);
    if (p.empty())
      throw_error<DataError>("there is no checkpoint at ", from,
                             ". Set mfl.init or training.checkpointing.resume_ckpt to the file, or to \"\" for fresh weights");
    const weights::Coverage coverage = load_weights(stage, p, c.mfl.allow_missing);
    say(coverage.table());
    say(text("initialise: weights from ", p.string(), ", step 0"));
    b.how = "initialised from " + p.string();
  };
  if (!c.mfl.init.empty()) {
    do_initialise(c.mfl.init);
  } else if (!ck.resume_ckpt.empty()) {
    if (c.training.optimizer.reset_training_state) {
      do_initialise(ck.resume_ckpt);
    } else {
      const fs::path p = newest_checkpoint(ck.resume_ckpt);
      if (p.empty())
        throw_error<DataError>("training.checkpointing.resume_ckpt: there is no checkpoint at ", ck.resume_ckpt,
                               ". Give the file, or \"\" for fresh weights");
      do_resume(p);
    }
  } else {
    say(text("fresh weights, seed ", c.mfl.seed));
  }
  return b;
}

class Trainer {
 public:
  Trainer(const GslrmConfig& config, Communicator& comm, const LaunchOptions& launch, int segment)
      : config_(config), comm_(comm), signals_(launch.signals), verify_checkpoints_(launch.verify_checkpoints), memory_bytes_(launch.memory_bytes),
        leader_(comm.rank() == 0),
        train_(std::make_shared<data::Dataset>(
            open_data(config, config.train_data(), config.mfl.data.train, config.training.dataset.dataset_path, comm), dataset_options(config, true))),
        stage_(config, {.device = comm.device(), .precision = Precision::of(config.compute()), .recompute_segment = segment,
                        .memory_bytes = launch.memory_bytes, .shard = shard_ranks(config.mfl.shard_optimizer, comm), .lpips_metric = lpips_metric(config).own_network}),
        job_(job_overview(config, train_->size(), comm.size())),
        report_(leader_, {.folder = config.log_dir(), .print_every = config.training.logging.print_every,
                          .log_every = config.training.logging.wandb.log_every, .clip_norm = config.training.runtime.grad_clip_norm,
                          .allowed_factor = config.training.runtime.allowed_gradnorm_factor, .max_skipped = config.mfl.max_skipped, .faults = config.mfl.faults,
                          .remedy = "a lower training.optimizer.lr or a longer training.schedule.warmup; `mfl_data doctor` on the samples that are named, and a set without "
                                    "them; mfl.compute: f32 where a term overflows in bf16; a higher training.runtime.allowed_gradnorm_factor where updates were left out for their norm."}),
        times_(comm, config.training.runtime.grad_accum_steps, config.mfl.faults.slow_rank_factor) {
    if (config.validation.enabled)
      val_ = std::make_shared<data::Dataset>(open_data(config, config.val_data(), config.mfl.data.val, config.validation.dataset_path, comm,
                                                       &train_->reader()), dataset_options(config, false));
  }

  int run(bool dry_run);

 private:
  struct Queued {                  // an update whose results are still on the device
    std::int64_t pass;
    double learning_rate;
    gslrm::LossConfig losses;
  };
  void take(const Beginning&);     // stands there from now on
  bool roll_back(Watchdog&);       // after a divergence, collective; false: the run ends
  RunHeader header() const;
  bool settle();                   // reads the last update's results; false: training must stop
  std::exception_ptr validate();   // null, or on all ranks why it failed
  bool save();                     // false: diverged, the state of the save before is not finite
  void forecast_disk() const;
  void show(bool wait = false);    // what has been drawn and written beside training, to the log
  double rate() const {            // of the next update
    return learning_rate(lr_schedule(config_.mfl), config_.training.optimizer.lr, state_.schedule_updates, config_.training.schedule.warmup,
                         horizon(job_, config_.mfl, state_.schedule_start));
  }
  bool due(std::int64_t every) const { return every > 0 && state_.passes % every == 0; }

  GslrmConfig config_;
  Communicator& comm_;
  const StopSignals* signals_;
  bool verify_checkpoints_;
  std::size_t memory_bytes_;       // of the device, as the command line bounds it; 0: all
  bool leader_;
  std::shared_ptr<const data::Dataset> train_, val_;
  GslrmStage stage_;
  JobOverview job_;
  RunReport report_;
  std::unique_ptr<CheckpointWriter> writer_;   // of the leader
  std::unique_ptr<StateSender> sender_;        // of the others
  std::unique_ptr<TrainingPictures> pictures_; // of the leader
  std::unique_ptr<Showcase> showcase_;         // of the leader
  std::unique_ptr<GradReducer> reducer_;
  std::unique_ptr<LossReadback> readback_;
  std::unique_ptr<Validation> validation_;
  std::unique_ptr<UpdateSamples> samples_;
  RankTimes times_;
  IdleLosses idle_;
  Tensor averaged_;                // terms_, and the places of times_: averaged over ranks together
  Tensor terms_;                   // [accumulation, kTerms]
  RunState state_;
  std::optional<Queued> queued_;
  Beginning start_;                // of the run
  std::int64_t start_pass_ = 0, saved_pass_ = -1, validated_pass_ = -1;
  double peak_flops_ = 0;
  RunReport::Spent spent_;
};

int Trainer::run(bool dry_run) {
  const TrainingConfig& t = config_.training;
  const int accumulation = t.runtime.grad_accum_steps;
  stage_.load_networks(network_sources(config_));
  start_ = begin(stage_, config_, comm_);
  say_other_batch(leader_, start_.state.samples_an_update,
                  {.batch = t.dataloader.batch_size_per_gpu, .ranks = comm_.size(), .accumulation = accumulation,
                   .keys = "training.dataloader.batch_size_per_gpu x training.runtime.grad_accum_steps"});
  take(start_);
  start_pass_ = state_.passes;
  if (!start_.resumed.empty()) {
    for (const CheckpointFile& f : list_checkpoints(t.checkpointing.checkpoint_dir))
      if (f.pass <= start_pass_) report_.points.add(f.pass, f.path);
    report_.points.add(start_pass_, start_.resumed, own_checkpoint(config_, start_.resumed));
  }

  if (leader_) log_info(describe(job_, state_.passes));
  if (state_.passes >= job_.total_passes || dry_run) return kExitOk;
  report_.start(header());

  if (leader_) {
    const TrainingConfig::Checkpointing& ck = t.checkpointing;
    writer_ = std::make_unique<CheckpointWriter>(stage_, ck.checkpoint_dir,
                                                 save_options(report_, config_.mfl.on_checkpoint_failure, verify_checkpoints_));
    forecast_disk();
    if (t.logging.vis_every > 0) {
      const int image_size = stage_.spec.image_size, side = train_->options().crop_size;
      pictures_ = std::make_unique<TrainingPictures>(ck.checkpoint_dir, comm_.device(), t.dataloader.batch_size_per_gpu,
                                                     train_->num_views(), side > 0 ? side : image_size, train_->channels());
    }
  }
  if (!leader_) sender_ = CheckpointWriter::sender(stage_);
  const std::int64_t terms = std::int64_t{accumulation} * kTerms;
  averaged_ = stage_.weights.empty({terms + times_.places()}, DType::f32, {"loss terms"});
  terms_ = averaged_.rows(0, terms).reshape({accumulation, kTerms});
  samples_ = std::make_unique<UpdateSamples>(comm_.device(), accumulation, kTerms, std::vector<std::string>(gslrm::kTermNames.begin(), gslrm::kTermNames.end()));
  readback_ = std::make_unique<LossReadback>(comm_.device(), accumulation, kTerms);
  reducer_ = std::make_unique<GradReducer>(stage_.params, comm_, std::size_t(config_.mfl.bucket_mb * (1 << 20)));
  if (val_) {
    if (leader_) showcase_ = std::make_unique<Showcase>(config_, comm_.device(), memory_bytes_ ? memory_bytes_ : device_info(comm_.device()).memory_bytes);
    validation_ = std::make_unique<Validation>(stage_, val_, comm_, showcase_.get());
  }
  peak_flops_ = config_.mfl.peak_tflops > 0 ? config_.mfl.peak_tflops * 1e12
                                            : peak_flops(device_info(comm_.device()).name, config_.compute());
  data::SamplerOptions order{.size = train_->size(), .batch = t.dataloader.batch_size_per_gpu, .rank = comm_.rank(), .world = comm_.size(),
                             .seed = config_.mfl.seed, .shuffle = true};
  if (!state_.data_position) state_.data_position = data::Sampler(order).begin(static_cast<std::uint64_t>(state_.passes));
  order.start = *state_.data_position;
  data::Loader loader(train_, order, {.workers = t.dataloader.num_workers, .prefetch = t.dataloader.batches_ahead()});
  RollCall roll_call(comm_);
  Watchdog watchdog(comm_, {.stall = config_.mfl.stall_seconds, .silence = config_.mfl.faults.silence_seconds}, [&] { return reducer_->in_flight(); }, &roll_call);

  const auto run_start = std::chrono::steady_clock::now();
  if (validation_ && (state_.passes == 0 || due(config_.validation.val_every))) {
    watchdog.phase("validation");
    if (const std::exception_ptr failure = validate()) std::rethrow_exception(failure);
  }
  int code = kExitOk;
  std::exception_ptr failure;   // of a validation
  int micro = 0;   // a run begins, and goes on, with a window of its own, whatever the window was before
  while (state_.passes < job_.total_passes) {
    Range step_range("step");
    const auto pass_start = std::chrono::steady_clock::now();
    // The run may end inside an accumulation window: what is there is applied.
    const bool boundary = micro + 1 == accumulation || state_.passes + 1 == job_.total_passes;
    const gslrm::LossConfig losses = losses_at(t, state_.passes);
    watchdog.phase("data");
    const data::Batch& on_host = loader.next();
    watchdog.phase("forward and backward");
    if (micro == 0) {
      stage_.step.begin_step();
      samples_->begin();
    }
    test_hooks::poison(stage_.stream, on_host.names, on_host.image);
    times_.begin(stage_.stream, micro == 0, loader.last_wait_seconds());
    reducer_->begin(boundary);
    {
      const data::Batch batch = loader.upload(stage_.stream, stage_.step);
      PassHooks hooks;
      hooks.ready = [&](ParamRange r) {
        if (boundary) reducer_->ready(stage_.context(), r);
      };
      if (pictures_ && (state_.passes == start_pass_ || due(t.logging.vis_every)))
        hooks.rendered = [&](const Tensor& render, const Tensor& target) {
          const auto begin = std::chrono::steady_clock::now();
          pictures_->request(stage_.stream, render, target, on_host, state_.passes + 1);
          spent_.pictures += seconds_since(begin);
        };
      stage_.micro_batch(inputs_of(batch), targets_of(batch), losses, micro > 0, terms_.rows(micro, 1).reshape({kTerms}), hooks);
    }
    times_.end(stage_.stream);
    samples_->micro_batch(stage_.stream, on_host.names, terms_.rows(micro, 1).reshape({kTerms}));
    ++state_.passes;
    show();
    state_.data_position = loader.position();
    const std::int64_t samples = job_.batch_size;
    if (!boundary) {
      ++micro;
      report_.meter.add(seconds_since(pass_start), loader.last_wait_seconds(), samples);
      continue;
    }

    const int window = std::exchange(micro, 0) + 1;
    watchdog.phase("update");
    reducer_->join(stage_.context());
    const Tensor places = averaged_.rows(terms, times_.places());
    times_.put(stage_.stream, places, reducer_->host_seconds());
    comm_.all_reduce(stage_.stream, averaged_, ReduceOp::avg);
    if (!settle()) {
      if (roll_back(watchdog)) continue;
      code = kExitNotFinite;
      break;
    }
    const double lr = rate();
    if (writer_) writer_->before_update();
    if (sender_) sender_->before_update();
    stage_.optimizer->step(stage_.stream, lr, window, terms_.rows(0, window));
    stage_.optimizer->request(stage_.stream);
    readback_->request(stage_.stream, terms_);
    times_.request(stage_.stream, places);
    samples_->queued();
    queued_ = Queued{state_.passes, lr, losses};
    report_.meter.add(seconds_since(pass_start), loader.last_wait_seconds(), samples);
    ++state_.schedule_updates;
    if (writer_) writer_->poll();

    const bool last = state_.passes == job_.total_passes;
    if (validation_ && (due(config_.validation.val_every) || last)) {
      if (!settle()) {
        if (roll_back(watchdog)) continue;
        code = kExitNotFinite;
        break;
      }
      watchdog.phase("validation");
      failure = validate();
    }
    if (due(t.checkpointing.checkpoint_every) || last || failure) {
      const bool sound = settle();
      watchdog.phase("checkpoint");
      if (!sound || !save()) {
        if (!failure && roll_back(watchdog)) continue;
        code = kExitNotFinite;
        break;
      }
    }
    if (failure) break;
    if (const Stop stop = signals_ ? signals_->agreed(comm_) : Stop::none; stop != Stop::none && !last) {
      const bool sound = settle();
      watchdog.phase("checkpoint");
      if (!sound || !save()) {
        if (!roll_back(watchdog)) {
          code = kExitNotFinite;
          break;
        }
        save();
      }
      if (leader_) log_info("stopped by a signal after pass ", state_.passes, "; start again to continue");
      code = stop == Stop::requeue ? int(kExitRequeue) : kExitInterrupted;
      break;
    }
  }
  watchdog.phase("end");
  const std::exception_ptr unsaved = writer_ ? writer_->finish() : nullptr;
  if (report_.refused(comm_)) code = kExitNotFinite;
  if (code == kExitNotFinite) report_.diverged(state_.passes);
  show(/*wait=*/true);
  spent_.all = seconds_since(run_start);
  report_.end(state_.passes, spent_);
  if (unsaved && code != kExitNotFinite) std::rethrow_exception(unsaved);   // the other ranks end with this one
  comm_.barrier();
  if (failure) std::rethrow_exception(failure);
  return code;
}

bool Trainer::settle() {
  if (!queued_) return true;
  const Queued q = *queued_;
  queued_.reset();
  const StepScalars s = stage_.optimizer->take();
  const std::vector<double> mean = readback_->take();
  std::array<double, kTerms> terms{};
  std::copy(mean.begin(), mean.end(), terms.begin());
  state_.updates = s.updates;
  UpdateResult u{.pass = q.pass, .learning_rate = q.learning_rate, .scalars = s, .loss = gslrm::total(q.losses, terms)};
  if (leader_)
    for (const std::string& name : idle_.take(gslrm::weights_of(q.losses), terms))
      log_warning("pass ", q.pass, ": ", name, " has a weight and was exactly 0 in ", IdleLosses::kUpdates, " updates in a row: it teaches nothing. "
                  "Is there a foreground (or background) in the alpha of the images? `mfl_data doctor` shows it");
  if (s.bad_segment >= 0) u.bad_segment = stage_.optimizer->segment_name(s.bad_segment);
  for (const double w : gslrm::weights_of(q.losses)) u.objective = u.objective * 31 + std::bit_cast<std::uint64_t>(w);
  if (const std::optional<SlowRank> slow = times_.take()) report_.slow(q.pass, *slow);
  const Suspects suspects = s.outcome == UpdateOutcome::non_finite ? samples_->take(comm_) : Suspects{};
  return report_.update(u, suspects, [&](StepRecord& r) {
    r.ranks = times_.mean();
    if (const auto t = reducer_->timing()) r.reduction_seconds = t->total_ms * 1e-3, r.exposed_seconds = t->exposed_ms * 1e-3;
    r.epoch = double(q.pass) / double(job_.passes_per_epoch);
    r.losses.emplace_back("loss", u.loss);
    const auto weights = gslrm::weights_of(q.losses);
    for (std::size_t i = 0; i < kTerms; ++i)
      if (weights[i] > 0 || i == gslrm::kUsage) r.losses.emplace_back(gslrm::kTermNames[i], terms[i]);
    if (weights[gslrm::kL2] > 0) r.losses.emplace_back("psnr", -10 * std::log10(std::max(terms[gslrm::kL2], 1e-8)));
    // Forward once, backward twice; recomputation is not counted.
    r.flops_per_second = 3 * stage_.model.forward_flops() * double(config_.training.dataloader.batch_size_per_gpu) / r.seconds_per_pass;
    r.peak_flops = peak_flops_;
    r.memory_bytes = stage_.peak_bytes();
  });
}

RunHeader Trainer::header() const {
  RunHeader h;
  h.config_path = (fs::path(config_.log_dir()) / "config.yaml").string();
  h.config_hash = content_hash(write_merged(config_));
  h.data_path = train_->reader().path();
  h.data_hash = train_->reader().content_hash();
  const DeviceInfo d = device_info(comm_.device());
  h.device = d.name, h.driver = d.driver;
  h.start = start_.how, h.start_pass = state_.passes, h.total_passes = job_.total_passes;
  h.samples = train_->size(), h.samples_an_update = state_.samples_an_update;
  h.ranks = comm_.size(), h.seed = config_.mfl.seed;
  h.parameters = stage_.params.numel();
  for (const Param& p : stage_.params.all()) h.trainable += p.trainable ? p.numel() : 0;
  const auto& w = config_.training.logging.wandb;
  h.more = {{"project", w.project}, {"name", w.exp_name}, {"group", w.group}, {"job_type", w.job_type},
            {"compute", name_of(config_.compute())}, {"recipe", train_->reader().recipe()}};
  return h;
}

std::exception_ptr Trainer::validate() {
  if (validated_pass_ == state_.passes) return nullptr;
  validated_pass_ = state_.passes;
  Range range("validation");
  const auto begin = std::chrono::steady_clock::now();
  ValidationResult r;
  std::exception_ptr mine;
  try {
    r = validation_->run(state_.passes);
  } catch (...) {
    mine = std::current_exception();
  }
  if (const std::exception_ptr failure = agreed_failure(comm_, mine)) {
    report_.validation_failed(state_.passes, failure);
    return failure;
  }
  r.seconds = seconds_since(begin);
  spent_.validation += r.seconds;
  report_.validation(state_.passes, r);
  const std::string& best = config_.mfl.keep_best;
  if (best == "none") return nullptr;
  for (const auto& [name, value] : r.metrics)
    if (name == best && (!state_.best || (best == "lpips" ? value < *state_.best : value > *state_.best))) {
      state_.best = value;
      state_.best_pass = state_.passes;
      if (state_.passes > 0) (void)save();   // a state that was refused is found again at the next place that saves
    }
  return nullptr;
}

void Trainer::take(const Beginning& b) {
  state_ = b.state;
  state_.samples_an_update = job_.batch_size * config_.training.runtime.grad_accum_steps;
  // One set of weights on all ranks, whatever each has read.
  comm_.broadcast(stage_.stream, stage_.params.values(), 0);
  weights::refresh_compute(stage_.stream, stage_.params);
}

// Weights, moments and counters of the newest sound checkpoint, or of the start; the data go on where they are.
bool Trainer::roll_back(Watchdog& watchdog) {
  watchdog.phase("rollback");
  if (writer_) (void)writer_->finish();   // one that fails now is reported, and no place to go back to
  if (sender_) sender_->before_update();
  (void)report_.refused(comm_);
  const std::int64_t sound = report_.sound_before(), from = state_.passes;
  if (!report_.may_return()) return false;
  Beginning b;
  if (!resume_first_that_fits(comm_, report_.points.sound(sound), [&](const fs::path& p) { b = resume_from(stage_, config_, comm_, p); })) {
    if (!start_.resumed.empty() || sound <= start_pass_) return false;
    stage_.optimizer->reset(stage_.stream);
    b = begin(stage_, config_, comm_, /*anew=*/true);
    b.how = "the start of the run";
  }
  b.state.data_position = state_.data_position;
  take(b);
  queued_.reset();
  saved_pass_ = validated_pass_ = -1;
  report_.returned(from, state_.passes, b.how, *state_.data_position);
  return true;
}

bool Trainer::save() {
  if (saved_pass_ == state_.passes) return true;
  if (writer_) writer_->wait();   // as its save would
  if (report_.refused(comm_)) return false;
  saved_pass_ = state_.passes;
  if (sender_) sender_->start();
  if (!writer_) return true;
  writer_->save(state_, rate(), write_merged(config_), report_.checkpoints_to_keep(config_.training.checkpointing.checkpoints_total_limit.value_or(0)));
  return true;
}

void Trainer::show(bool wait) {
  const auto begin = std::chrono::steady_clock::now();
  if (pictures_)
    for (const TrainingPictures::Drawn& d : pictures_->take(wait)) {
      for (const auto& p : d.pictures) report_.events.image("images/train/" + p.name, d.pass, p.width, p.height, p.png);
      report_.events.flush();
      if (!d.error.empty()) log_warning("pictures of pass ", d.pass, " are missing: ", d.error);
    }
  if (showcase_)
    for (const Showcase::Shown& s : showcase_->take(wait)) report_.shown(s);
  spent_.pictures += seconds_since(begin);
}

// A new checkpoint is complete before an old one goes, and the best one stays: two more than the limit at most.
void Trainer::forecast_disk() const {
  const TrainingConfig::Checkpointing& ck = config_.training.checkpointing;
  const std::int64_t every = std::lcm(ck.checkpoint_every, std::int64_t{config_.training.runtime.grad_accum_steps});
  std::int64_t files = (job_.total_passes - state_.passes + every - 1) / every;
  if (ck.checkpoints_total_limit) files = std::min<std::int64_t>(files, *ck.checkpoints_total_limit + 2);
  const std::string warning = disk_forecast(ck.checkpoint_dir, files, CheckpointWriter::staging_bytes(stage_),
                                            "raise training.checkpointing.checkpoint_every, or set checkpoints_total_limit");
  if (!warning.empty()) log_warning(warning);
}

}  // namespace

int train_gslrm(const GslrmConfig& config, Communicator& comm, const LaunchOptions& launch) {
  set_log_rank(comm.rank(), comm.size());
  // The published program does something else than train then.
  for (const auto& [key, on] : {std::pair{"evaluation", config.evaluation}, std::pair{"inference.enabled", config.inference.enabled}})
    if (on)
      throw_error<ConfigError>(key, " must be false: this program trains. `mfl_infer --dataset FILE.h5 --gslrm CHECKPOINT --out FOLDER` "
                               "reconstructs a data set and measures the result.");
  std::size_t memory = launch.memory_bytes;
  if (memory == 0 && comm.device().is_cuda()) memory = device_info(comm.device()).memory_bytes;
  const MemoryPlan plan = plan_gslrm(config, memory, -1, comm.size());
  HeldFolders held;
  if (comm.rank() == 0) {
    held = hold_folders({config.training.checkpointing.checkpoint_dir, config.log_dir()});
    io::write_text_file(fs::path(config.log_dir()) / "config.yaml", write_merged(config));
    log_info("memory plan: ", human_bytes(plan.total()), " (state ", human_bytes(plan.state_bytes), ", activations ",
             human_bytes(plan.step_bytes), ", rasterizer ", human_bytes(plan.splat_bytes), ", validation's pictures ", human_bytes(plan.showcase_bytes), "); --plan shows it in detail");
    if (const std::string& ground = config.training.dataset.background_color; ground != "white" && ground != "1" && ground != "1.0")
      log_info("images are composited over ", ground, ", renders over white, as published: the model has to paint the ground itself");
    if (memory && plan.total() > memory)
      log_warning("the plan needs ", human_bytes(plan.total()), " of ", human_bytes(memory), " on ", comm.device(), ":\n",
                  describe(config, plan, memory));
  }
  Trainer trainer(config, comm, launch, plan.recompute_segment);
  return trainer.run(launch.dry_run);
}

}  // namespace mfl
