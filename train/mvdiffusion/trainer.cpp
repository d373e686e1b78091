#include "train/mvdiffusion/trainer.h"

#include <fmt/format.h>

#include <chrono>
#include <optional>

#include "models/weights/coverage.h"
#include "runtime/io/atomic_file.h"
#include "runtime/log.h"
#include "runtime/profile.h"
#include "train/agreed_failure.h"
#include "train/grad_reducer.h"
#include "train/loss_readback.h"
#include "train/mvdiffusion/checkpoint.h"
#include "train/mvdiffusion/plan.h"
#include "train/mvdiffusion/stage.h"
#include "train/mvdiffusion/validation.h"
#include "train/mvdiffusion/view_set.h"
#include "train/rank_times.h"
#include "train/resume_newest.h"
#include "train/run_folders.h"
#include "train/run_report.h"
#include "train/signals.h"
#include "train/test_hooks.h"
#include "train/training_data.h"
#include "train/update_samples.h"
#include "train/watchdog.h"

namespace mfl::mvdiffusion {
namespace {

namespace fs = std::filesystem;

double seconds_since(std::chrono::steady_clock::time_point t) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - t).count();
}

ObjectOptions object_options(const TrainConfig& c) {
  ObjectOptions o;
  o.views = c.n_views, o.side = c.img_wh;
  o.rule = c.reference_rule(), o.reference = c.reference_view();
  o.background = data::parse_background(c.train_dataset.bg_color);
  if (c.augments()) o.jitter = Jitter{c.train_dataset.aug_brightness, c.train_dataset.aug_contrast};
  o.limit = c.mfl.overfit, o.seed = c.seed;
  return o;
}

std::shared_ptr<const data::ViewReader> open_data(const TrainConfig& c, const std::string& packed, const std::string& own,
                                                  const std::string& list, Communicator& comm, const data::ViewReader* checked = nullptr) {
  return open_training_data({.packed = packed, .own = own, .list = list, .cache = c.log_dir() / "packed", .image_size = c.img_wh,
                             .allow_unsound = c.mfl.allow_unsound_data}, comm, checked);
}

// Validation's objects: a fixed choice, each with a reference of its own where the reference is drawn.
ViewSet validation_set(const TrainConfig& c, std::shared_ptr<const data::ViewReader> reader) {
  ViewSetOptions o;
  o.image_size = c.img_wh, o.views = c.n_views, o.rule = c.reference_rule();
  o.reference = o.rule == ReferenceRule::fixed ? std::optional<int>(c.reference_view()) : std::nullopt;
  const data::Background background = data::parse_background(c.validation_dataset.bg_color);
  if (background.kind != data::Background::Kind::constant)
    throw_error<ConfigError>("validation_dataset.bg_color is drawn at random, so that validations would not compare. Name a colour, such as white");
  o.background.fill(background.value);
  o.seed = c.seed, o.limit = c.mfl.overfit > 0 ? c.mfl.overfit : c.mfl.val_samples;
  return packed_view_set(std::move(reader), o);
}

class Trainer {
 public:
  Trainer(const TrainConfig& config, Communicator& comm, const LaunchOptions& launch)
      : config_(config), comm_(comm), signals_(launch.signals), verify_checkpoints_(launch.verify_checkpoints), leader_(comm.rank() == 0),
        files_(config.pretrained_model_name_or_path),
        set_(std::make_shared<ObjectSet>(open_data(config, config.train_data(), config.mfl.data.train, config.train_dataset.path, comm),
                                         object_options(config))),
        stage_(config, &files_, {.device = comm.device(), .compute = config.compute(), .offload = config.offload(), .shard = shard_ranks(config.mfl.shard_optimizer, comm),
                                .recompute = config.recompute(), .memory_bytes = launch.memory_bytes}),
        report_(leader_, {.folder = config.log_dir(), .print_every = config.mfl.print_every, .log_every = 1,
                          .clip_norm = config.max_grad_norm.value_or(0), .allowed_factor = 0, .max_skipped = config.mfl.max_skipped, .faults = config.mfl.faults,
                          .remedy = "a lower learning_rate or longer lr_warmup_steps; max_grad_norm where it is null; a look at the objects that are named "
                                    "(`mfl_data doctor`), and a set without them; mfl.compute: f32."}),
        times_(comm, config.gradient_accumulation_steps, config.mfl.faults.slow_rank_factor) {
    if (config.validation_steps > 0 && !config.val_data().empty())
      validation_data_ = open_data(config, config.val_data(), config.mfl.data.val, config.validation_dataset.path, comm, &set_->reader());
  }

  int run(bool dry_run);

 private:
  struct Queued {                  // an update whose results are still on the device
    std::int64_t step;
    double learning_rate;
  };
  void make_writer();
  void begin();                    // resumed, initialised or fresh
  void resume_from(const fs::path&);
  void agree();                    // on one set of weights
  bool roll_back(Watchdog&);       // after a divergence, collective; false: the run ends
  void prepare_validation();
  RunHeader header() const;
  bool update(ObjectLoader&, Watchdog&);   // one step; false as settle()
  bool settle();                   // reads the last update's results; false: training must stop
  std::exception_ptr validate();   // null, or on all ranks why it failed
  void keep_if_best(const ValidationResult&);
  bool save();                     // false: diverged, the state of the save before is not finite
  std::exception_ptr save_pipeline();   // waits; why it was not written, or null
  bool due(std::int64_t every) const { return every > 0 && state_.step % every == 0; }
  double rate() const { return learning_rate(config_, state_.step, state_.schedule_count, comm_.size()); }
  fs::path pipeline_folder() const { return config_.model_dir() / "pipeckpts"; }
  Trained trained() {
    return {stage_.stream, stage_.params, *stage_.optimizer, stage_.ema ? &*stage_.ema : nullptr,
            stage_.spec.json(config_.img_wh / stage_.encoders.factor())};
  }

  TrainConfig config_;
  Communicator& comm_;
  const StopSignals* signals_;
  bool verify_checkpoints_;
  bool leader_;
  PipelineFiles files_;
  std::shared_ptr<const ObjectSet> set_;
  std::shared_ptr<const data::ViewReader> validation_data_;
  Stage stage_;
  RunReport report_;
  std::unique_ptr<EncoderCache> cache_;
  std::unique_ptr<StepEncoder> encoder_;
  std::unique_ptr<ViewValidation> validation_;
  std::unique_ptr<CheckpointWriter> writer_;   // of the leader
  std::unique_ptr<StateSender> sender_;        // of the others
  std::unique_ptr<GradReducer> reducer_;
  std::unique_ptr<LossReadback> readback_;
  std::unique_ptr<UpdateSamples> samples_;
  RankTimes times_;
  Tensor averaged_;                // losses_, and the places of times_: averaged over ranks together
  Tensor losses_;                  // [accumulation, 1]
  RunState state_;
  std::optional<Queued> queued_;
  std::string start_ = "new";      // how the run began, for the record
  fs::path resumed_;               // from here; empty: it began at step 0
  std::int64_t start_step_ = 0;
  std::int64_t steps_per_epoch_ = 1, saved_step_ = -1, validated_step_ = -1;
  double peak_flops_ = 0;
  RunReport::Spent spent_;
};

void Trainer::resume_from(const fs::path& folder) {
  if (leader_) check_files(folder);
  const Resumed r = resume(trained(), folder);
  if (leader_) log_info(r.table);
  if (leader_)
    log_info("resume: from ", folder.string(), " at step ", r.state.step, ", ", r.state.updates, " updates applied",
             r.ours ? "" : "; written by Python, which keeps no data position");
  state_ = r.state;
  resumed_ = folder;
}

void Trainer::agree() {   // whatever each rank has read
  state_.objects_an_update = std::int64_t{config_.train_batch_size} * comm_.size() * config_.gradient_accumulation_steps;
  comm_.broadcast(stage_.stream, stage_.params.values(), 0);
  weights::refresh_compute(stage_.stream, stage_.params);
}

void Trainer::begin() {
  stage_.load();
  auto say = [&](const std::string& line) {
    if (leader_) log_info(line);
  };
  const std::optional<std::string>& from = config_.resume_from_checkpoint;
  const std::vector<CheckpointFolder> all = list_checkpoints(config_.model_dir());
  std::vector<fs::path> newest_first;
  if (from == "latest")
    for (auto it = all.rbegin(); it != all.rend(); ++it) newest_first.push_back(it->path);
  else if (from)
    newest_first.push_back(checkpoint_to_resume(config_.model_dir(), from));
  if (resume_first_that_fits(comm_, newest_first, [&](const fs::path& folder) { resume_from(folder); })) {
    start_ = "resumed from " + resumed_.string();
    say_other_batch(leader_, state_.objects_an_update, {.batch = config_.train_batch_size, .ranks = comm_.size(), .accumulation = config_.gradient_accumulation_steps,
                                                        .keys = "train_batch_size x gradient_accumulation_steps"});
    start_step_ = state_.step;
    for (const CheckpointFolder& f : all)
      if (f.step <= start_step_) report_.points.add(f.step, f.path);
    report_.points.add(start_step_, resumed_, resumed_.parent_path() == config_.model_dir());
  } else {
    start_ = "initialised from " + unet_folder(config_).string();
    say(mfl::text("initialise: UNet from ", unet_folder(config_).string(), ", step 0"));
    if (!all.empty() && leader_)
      log_warning(config_.model_dir().string(), " holds checkpoints up to step ", all.back().step,
                  ", and this run begins at step 0 (resume_from_checkpoint: null). `--resume latest` would go on from there.");
  }
  agree();
}

// Weights, moments, average and counters of the newest sound checkpoint, or of the start; the data go on where they are.
bool Trainer::roll_back(Watchdog& watchdog) {
  watchdog.phase("rollback");
  if (writer_) (void)writer_->finish();   // one that fails now is reported, and no place to go back to
  if (sender_) sender_->before_update();
  (void)report_.refused(comm_);
  const std::int64_t sound = report_.sound_before(), from = state_.step;
  if (!report_.may_return()) return false;
  const std::uint64_t data_position = *state_.data_position;
  std::string where;
  if (resume_first_that_fits(comm_, report_.points.sound(sound), [&](const fs::path& folder) { resume_from(folder), where = folder.string(); })) {
  } else if (resumed_.empty() && sound > start_step_) {
    stage_.load();
    stage_.optimizer->reset(stage_.stream);
    state_ = {};
    where = "the start of the run";
  } else {
    return false;
  }
  agree();
  state_.data_position = data_position;
  queued_.reset();
  saved_step_ = validated_step_ = -1;
  report_.returned(from, state_.step, where, data_position);
  return true;
}

void Trainer::prepare_validation() {
  if (!validation_data_) return;
  ViewValidationOptions o;
  o.guidance = config_.validation_guidance_scales;
  o.sampler = {.steps = config_.pipe_validation_kwargs.num_inference_steps, .eta = config_.pipe_validation_kwargs.eta,
               .steps_offset = stage_.encoders.steps_offset()};
  o.seed = config_.seed;
  o.batch = config_.validation_batch_size;
  o.folder = config_.val_out_dir.empty() ? config_.model_dir() / "val" : fs::path(config_.val_out_dir);
  if (!stage_.lpips() && leader_) log_warning("validation reports no LPIPS: mfl.weights.vgg16 and mfl.weights.lpips name no files.");
  validation_ = std::make_unique<ViewValidation>(stage_.encoders, stage_.unet, stage_.prompts, validation_set(config_, validation_data_), comm_,
                                                 o, stage_.lpips());
}

void Trainer::make_writer() {
  if (!leader_) {
    sender_ = CheckpointWriter::sender(trained());
    return;
  }
  writer_ = std::make_unique<CheckpointWriter>(trained(), config_.model_dir(),
                                               save_options(report_, config_.mfl.on_checkpoint_failure, verify_checkpoints_));
}

int Trainer::run(bool dry_run) {
  const int accumulation = config_.gradient_accumulation_steps;
  begin();
  data::SamplerOptions sampler{.size = set_->size(), .batch = config_.train_batch_size, .rank = comm_.rank(), .world = comm_.size(),
                                     .seed = config_.seed, .shuffle = true};
  steps_per_epoch_ = std::max<std::int64_t>(1, data::Sampler(sampler).steps_per_epoch() / accumulation);
  if (config_.max_train_steps == 0) config_.max_train_steps = config_.num_train_epochs * steps_per_epoch_;
  const std::int64_t total = config_.max_train_steps;
  if (leader_) {
    if (state_.step >= total)
      log_info("nothing to do: the run stands at step ", state_.step, " and ends at ", total, ". Raise max_train_steps to go on.");
    else
      log_info("steps ", state_.step + 1, " to ", total, " (", steps_per_epoch_, " steps an epoch of ", set_->size(), " objects, ",
               std::int64_t{config_.train_batch_size} * comm_.size() * accumulation, " a step on ", comm_.size(),
               comm_.size() == 1 ? " rank)" : " ranks)");
    if (config_.lr_warmup_steps > 0 && (config_.lr_scheduler == "piecewise_constant" || config_.lr_scheduler == "constant"))
      log_info("lr_warmup_steps is not read with lr_scheduler: ", config_.lr_scheduler, ", as published; step_rules make a slow start");
  }
  check_pipeline_target(files_.folder(), pipeline_folder());
  if (dry_run) return kExitOk;
  if (state_.step >= total) {   // a run that ended before its pipeline was written
    if (comm_.any(leader_ && !fs::exists(pipeline_folder() / "model_index.json"))) {
      make_writer();
      if (const std::exception_ptr unsaved = save_pipeline()) std::rethrow_exception(unsaved);
    }
    comm_.barrier();
    return kExitOk;
  }
  report_.start(header());
  const auto run_start = std::chrono::steady_clock::now();

  make_writer();
  if (leader_) {
    std::int64_t folders = (total - state_.step + config_.checkpointing_steps - 1) / config_.checkpointing_steps;
    if (config_.checkpoints_total_limit) folders = std::min<std::int64_t>(folders, *config_.checkpoints_total_limit + 2);
    const std::string warning = disk_forecast(config_.model_dir(), folders, CheckpointWriter::staging_bytes(trained()),
                                              "raise checkpointing_steps, or set checkpoints_total_limit");
    if (!warning.empty()) log_warning(warning);
  }
  if (!set_->options().jitter && set_->options().background.kind != data::Background::Kind::random)   // else nothing has a key
    cache_ = std::make_unique<EncoderCache>(stage_.encoders, EncoderCache::Options{.folder = config_.mfl.cache.folder,
                                                                                   .memory_bytes = std::size_t(config_.mfl.cache.memory_gb * double(1 << 30))});
  encoder_ = std::make_unique<StepEncoder>(stage_.encoders, cache_.get(), config_.mfl.cache.chunk);
  averaged_ = stage_.weights.empty({accumulation + times_.places()}, stage_.params.precision().accum, {"loss terms"});
  losses_ = averaged_.rows(0, accumulation).reshape({accumulation, 1});
  samples_ = std::make_unique<UpdateSamples>(comm_.device(), accumulation, std::int64_t{config_.train_batch_size} * config_.n_views, std::vector<std::string>{});
  readback_ = std::make_unique<LossReadback>(comm_.device(), accumulation, 1);
  prepare_validation();
  peak_flops_ = config_.mfl.peak_tflops > 0 ? config_.mfl.peak_tflops * 1e12 : peak_flops(device_info(comm_.device()).name, config_.compute());
  reducer_ = std::make_unique<GradReducer>(stage_.params, comm_, std::size_t(config_.mfl.bucket_mb * (1 << 20)));
  if (!state_.data_position) state_.data_position = data::Sampler(sampler).begin(std::uint64_t(state_.step) * std::uint64_t(accumulation));
  sampler.start = *state_.data_position;
  ObjectLoader loader(set_, sampler, {.workers = config_.dataloader_num_workers, .prefetch = 3}, cache_.get());
  RollCall roll_call(comm_);
  Watchdog watchdog(comm_, {.stall = config_.mfl.stall_seconds, .silence = config_.mfl.faults.silence_seconds}, [&] { return reducer_->in_flight(); }, &roll_call);

  int code = kExitOk;
  std::exception_ptr failure;      // of a validation
  while (state_.step < total && code == kExitOk && !failure) {
    bool finite = update(loader, watchdog);
    const bool last = state_.step == total;
    const bool validating = validation_ && (due(config_.validation_steps) || last || (state_.step == 1 && config_.validation_sanity_check));
    const Stop stop = signals_ && finite ? signals_->agreed(comm_) : Stop::none;
    const bool saving = due(config_.checkpointing_steps) || last || stop != Stop::none;
    if (finite && (validating || saving)) finite = settle();
    if (!finite) {
      if (roll_back(watchdog)) continue;
      code = kExitNotFinite;
      break;
    }
    if (validating) {
      watchdog.phase("validation");
      failure = validate();
    }
    if (saving || failure) {
      watchdog.phase("checkpoint");
      if (!save()) {
        if (!failure && roll_back(watchdog)) continue;
        code = kExitNotFinite;
        break;
      }
    }
    if (stop != Stop::none && !last) {
      if (leader_) log_info("stopped by a signal after step ", state_.step, "; start again with --resume latest to continue");
      code = stop == Stop::requeue ? int(kExitRequeue) : kExitInterrupted;
    }
  }
  watchdog.phase("end");
  std::exception_ptr unsaved = writer_ ? writer_->finish() : nullptr;   // of the last checkpoint; the pipeline comes after it
  if (report_.refused(comm_)) code = kExitNotFinite;
  if (state_.step == total && code == kExitOk && !comm_.any(unsaved != nullptr)) unsaved = save_pipeline();
  if (report_.refused(comm_)) code = kExitNotFinite;   // the moving average alone, in the pipeline
  if (code == kExitNotFinite) report_.diverged(state_.step);
  spent_.all = seconds_since(run_start);
  report_.end(state_.step, spent_);
  if (unsaved && code != kExitNotFinite) std::rethrow_exception(unsaved);   // the other ranks end with this one
  comm_.barrier();
  if (failure) std::rethrow_exception(failure);
  return code;
}

bool Trainer::update(ObjectLoader& loader, Watchdog& watchdog) {
  Range range("step");
  const auto start = std::chrono::steady_clock::now();
  const int accumulation = config_.gradient_accumulation_steps;
  const std::int64_t batch = config_.train_batch_size, global = batch * comm_.size();
  double waited = 0;
  stage_.step.begin_step();
  samples_->begin();
  for (int micro = 0; micro < accumulation; ++micro) {
    const bool boundary = micro + 1 == accumulation;
    watchdog.phase("data");
    const ObjectBatch& objects = loader.next();
    waited += loader.last_wait_seconds();
    watchdog.phase("forward and backward");
    times_.begin(stage_.stream, micro == 0, loader.last_wait_seconds());
    reducer_->begin(boundary);
    EncodedObjects encoded;
    {
      const Tensor pixels = loader.upload(stage_.stream, stage_.step);
      encoded = stage_.encode(objects, pixels, *encoder_);
      test_hooks::poison(stage_.stream, objects.names, encoded.moments);
    }
    stage_.micro_batch(std::move(encoded), {.step = std::uint64_t(state_.step), .first_object = std::uint32_t(micro * global + comm_.rank() * batch),
                                            .accumulate = micro > 0},
                       losses_.rows(micro, 1).reshape({1}), [&](ParamRange r) {
                         if (boundary) reducer_->ready(stage_.context(), r);
                       });
    times_.end(stage_.stream);
    samples_->micro_batch(stage_.stream, objects.names, stage_.loss_per_sample);
    state_.data_position = loader.position();
  }
  watchdog.phase("update");
  reducer_->join(stage_.context());
  const Tensor places = averaged_.rows(accumulation, times_.places());
  times_.put(stage_.stream, places, reducer_->host_seconds());
  comm_.all_reduce(stage_.stream, averaged_, ReduceOp::avg);
  if (!settle()) return false;
  const double lr = rate();
  if (writer_) writer_->before_update();
  if (sender_) sender_->before_update();
  stage_.optimizer->step(stage_.stream, lr, accumulation, losses_);
  if (stage_.ema) stage_.ema->update(stage_.stream);
  stage_.optimizer->request(stage_.stream);
  readback_->request(stage_.stream, losses_);
  times_.request(stage_.stream, places);
  samples_->queued();
  ++state_.step;
  state_.schedule_count += comm_.size();
  queued_ = Queued{state_.step, lr};
  report_.meter.add(seconds_since(start), waited, global * accumulation);
  if (writer_) writer_->poll();
  return true;
}

bool Trainer::settle() {
  if (!queued_) return true;
  const Queued q = *queued_;
  queued_.reset();
  const StepScalars s = stage_.optimizer->take();
  const double loss = readback_->take()[0];
  state_.updates = s.updates;
  UpdateResult u{.pass = q.step, .learning_rate = q.learning_rate, .scalars = s, .loss = loss};
  if (s.bad_segment >= 0) u.bad_segment = stage_.optimizer->segment_name(s.bad_segment);
  if (const std::optional<SlowRank> slow = times_.take()) report_.slow(q.step, *slow);
  const Suspects suspects = s.outcome == UpdateOutcome::non_finite ? samples_->take(comm_) : Suspects{};
  return report_.update(u, suspects, [&](StepRecord& r) {
    r.ranks = times_.mean();
    if (const auto t = reducer_->timing()) r.reduction_seconds = t->total_ms * 1e-3, r.exposed_seconds = t->exposed_ms * 1e-3;
    r.epoch = double(q.step) / double(steps_per_epoch_);
    r.losses.emplace_back("loss", loss);
    // Forward once, backward twice, a rank; recomputation is not counted.
    const double samples = double(config_.gradient_accumulation_steps) * config_.train_batch_size * config_.n_views;
    r.flops_per_second = 3 * stage_.unet.forward_flops(config_.img_wh / stage_.encoders.factor(), kPromptTokens) * samples / r.seconds_per_pass;
    r.peak_flops = peak_flops_;
    r.memory_bytes = stage_.peak_bytes();
  });
}

RunHeader Trainer::header() const {
  RunHeader h;
  h.config_path = (config_.model_dir() / "config.yaml").string();
  h.config_hash = content_hash(write_merged(config_));
  h.data_path = set_->reader().path();
  h.data_hash = set_->reader().content_hash();
  const DeviceInfo d = device_info(comm_.device());
  h.device = d.name, h.driver = d.driver;
  h.start = start_, h.start_pass = state_.step, h.total_passes = config_.max_train_steps;
  h.samples = set_->size(), h.samples_an_update = state_.objects_an_update;
  h.ranks = comm_.size(), h.seed = config_.seed;
  h.parameters = stage_.params.numel();
  for (const Param& p : stage_.params.all()) h.trainable += p.trainable ? p.numel() : 0;
  h.more = {{"project", config_.tracker_project_name}, {"name", config_.wandb_exp_name}, {"group", config_.wandb_group},
            {"job_type", config_.wandb_job_type}, {"report_to", config_.report_to}, {"compute", name_of(config_.compute())},
            {"recipe", set_->reader().recipe()}};
  return h;
}

std::exception_ptr Trainer::validate() {
  if (validated_step_ == state_.step) return nullptr;
  validated_step_ = state_.step;
  Range range("validation");
  stage_.step.begin_step();
  ValidationResult r;
  std::exception_ptr mine;
  try {
    std::optional<EmaWeights::Shown> shown;
    if (stage_.ema) shown.emplace(stage_.stream, stage_.step, *stage_.ema);
    Ctx cx = stage_.context();
    r = validation_->run(cx, state_.step);
  } catch (...) {
    mine = std::current_exception();
  }
  if (const std::exception_ptr failure = agreed_failure(comm_, mine)) {
    report_.validation_failed(state_.step, failure);
    return failure;
  }
  report_.validation(state_.step, r);
  keep_if_best(r);
  return nullptr;
}

void Trainer::keep_if_best(const ValidationResult& r) {
  const std::string& best = config_.mfl.keep_best;
  if (best == "none" || !(due(config_.validation_steps) || state_.step == config_.max_train_steps)) return;
  const std::string full = best.find("-guidance_scale-") == std::string::npos
                               ? fmt::format("{}-guidance_scale-{:.1f}", best, config_.validation_guidance_scales.front()) : best;
  for (const auto& [name, value] : r.metrics)
    if (name == full && (!state_.best || (best.starts_with("lpips") ? value < *state_.best : value > *state_.best))) {
      state_.best = value;
      state_.best_step = state_.step;
      (void)save();   // a state that was refused is found again at the next place that saves
    }
}

std::exception_ptr Trainer::save_pipeline() {
  if (sender_) sender_->start();
  if (!writer_) return nullptr;
  writer_->save_pipeline(files_.folder(), pipeline_folder(), state_.step);
  return writer_->finish();
}

bool Trainer::save() {
  if (saved_step_ == state_.step) return true;
  if (writer_) writer_->wait();   // as its save would
  if (report_.refused(comm_)) return false;
  saved_step_ = state_.step;
  if (sender_) sender_->start();
  if (!writer_) return true;
  const std::int64_t keep = config_.checkpoints_total_limit ? report_.checkpoints_to_keep(int(std::max<std::int64_t>(1, *config_.checkpoints_total_limit))) : 0;
  writer_->save(state_, rate(), learning_rate(config_, 0, 0, comm_.size()), write_merged(config_), keep > 0 ? std::optional(keep) : std::nullopt);
  return true;
}

}  // namespace

int train(const TrainConfig& config, Communicator& comm, const LaunchOptions& launch) {
  set_log_rank(comm.rank(), comm.size());
  std::size_t memory = launch.memory_bytes;
  if (memory == 0 && comm.device().is_cuda()) memory = device_info(comm.device()).memory_bytes;
  const PipelineFiles there(config.pretrained_model_name_or_path);   // a run needs it, a plan does not
  const MemoryPlan plan = plan_training(config, comm.size());
  HeldFolders held;
  if (comm.rank() == 0) {
    held = hold_folders({config.model_dir(), config.log_dir()});
    io::write_text_file(config.model_dir() / "config.yaml", write_merged(config));
    log_info("memory plan: ", human_bytes(plan.total()), " (state ", human_bytes(plan.state_bytes), ", activations ",
             human_bytes(plan.step_bytes), "); --plan shows it in detail");
    if (memory && plan.total() > memory)
      log_warning("the plan needs ", human_bytes(plan.total()), " of ", human_bytes(memory), " on ", comm.device(), ":\n",
                  describe(config, plan, memory));
  }
  Trainer trainer(config, comm, launch);
  return trainer.run(launch.dry_run);
}

}  // namespace mfl::mvdiffusion
