#include "train/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <regex>
#include <utility>

#include "runtime/io/torch_file.h"
#include "runtime/io/weight_file.h"
#include "runtime/log.h"

namespace mfl {
namespace {

namespace fs = std::filesystem;
using io::Value;

constexpr int kVersion = 1;

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

// Buffers of a checkpoint in CheckpointWriter::buffers_.
enum Buffer : std::size_t { kValues, kExpAvg, kExpAvgSq, kFirstNetwork };

std::vector<Tensor> state_of(const GslrmStage& stage) {
  std::vector<Tensor> all = {stage.params.values(), stage.optimizer->exp_avg(), stage.optimizer->exp_avg_sq()};
  for (const ParamStore* network : stage.networks.stores()) all.push_back(network->values());
  return all;
}

Value betas(const OptimizerConfig& c) { return Value::tuple({c.beta1, c.beta2}); }

Value param_group(const OptimizerConfig& c, double lr, double initial_lr, double decay, std::int64_t first, std::int64_t count) {
  Value g = Value::dict();
  g.set("lr", lr);
  g.set("betas", betas(c));
  g.set("eps", c.eps);
  g.set("weight_decay", decay);
  g.set("amsgrad", false);
  g.set("foreach", Value());
  g.set("maximize", false);
  g.set("capturable", false);
  g.set("differentiable", false);
  g.set("fused", true);
  g.set("initial_lr", initial_lr);
  Value params = Value::list();
  for (std::int64_t i = 0; i < count; ++i) params.push(first + i);
  g.set("params", params);
  return g;
}

// Into one parameter, on whatever device it lives.
void put(const Stream& s, const io::StoredTensor& from, const Tensor& into, const std::string& name) {
  Tensor host = Tensor::on_heap(into.shape(), into.dtype());
  io::read(from, host, name);
  copy(s, host, into);
  s.synchronize();
}

}  // namespace

std::string checkpoint_name(std::int64_t pass) { return fmt::format("ckpt_{:016d}.pt", pass); }

std::vector<CheckpointFile> list_checkpoints(const fs::path& directory) {
  static const std::regex name("ckpt_([0-9]+)\\.pt");
  std::vector<CheckpointFile> found;
  std::error_code missing;
  for (const auto& e : fs::directory_iterator(directory, missing)) {
    std::smatch m;
    const std::string file = e.path().filename().string();
    if (std::regex_match(file, m, name)) found.push_back({e.path(), std::stoll(m[1])});
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.pass < b.pass; });
  return found;
}

fs::path newest_checkpoint(const fs::path& p) {
  if (!fs::is_directory(p)) return fs::exists(p) ? p : fs::path{};
  const auto all = list_checkpoints(p);
  return all.empty() ? fs::path{} : all.back().path;
}

weights::LossNetworkSources network_sources(const GslrmConfig& c) {
  const auto& ck = c.training.checkpointing;
  weights::LossNetworkSources s{.vgg19 = c.mfl.weights.vgg19, .vgg16 = c.mfl.weights.vgg16, .lpips = c.mfl.weights.lpips};
  for (const std::string& from : {c.mfl.resume == "auto" ? ck.checkpoint_dir : c.mfl.resume == "never" ? std::string() : c.mfl.resume,
                                  c.mfl.init, ck.resume_ckpt})
    if (const fs::path p = from.empty() ? fs::path{} : newest_checkpoint(from); !p.empty()) s.checkpoints.push_back(p.string());
  return s;
}

std::uint64_t CheckpointWriter::staging_bytes(const GslrmStage& stage) {
  std::uint64_t bytes = 0;
  for (const Tensor& t : state_of(stage)) bytes += t.bytes();
  return bytes;
}

CheckpointWriter::CheckpointWriter(GslrmStage& stage, fs::path directory, std::function<void(const SavedCheckpoint&)> done)
    : stage_(stage), directory_(std::move(directory)), done_(std::move(done)), buffers_(state_of(stage)),
      staging_(Tensor::pinned({static_cast<std::int64_t>(staging_bytes(stage))}, DType::u8, {"checkpoint staging"})),
      stream_(Stream::create(stage.stream.device(), "checkpoint")), ready_(stage.stream.device()),
      copied_(stage.stream.device()), before_wait_(stage.stream.device()), after_wait_(stage.stream.device()) {}

CheckpointWriter::~CheckpointWriter() {
  try {
    wait();
  } catch (const std::exception& e) {
    log_error("the last checkpoint was not written: ", e.what());
  }
}

io::StoredTensor CheckpointWriter::piece(std::size_t buffer, std::int64_t first, Shape shape) const {
  std::size_t at = static_cast<std::size_t>(first) * size_of(buffers_[buffer].dtype());
  for (std::size_t b = 0; b < buffer; ++b) at += buffers_[b].bytes();
  return io::stored(make_view(static_cast<const void*>(staging_.data<std::uint8_t>() + at), shape, buffers_[buffer].dtype()));
}

void CheckpointWriter::save(const RunState& state, double learning_rate, const std::string& config_yaml, int keep) {
  const auto start = Clock::now();
  wait();
  stage_.stream.record(ready_);
  stream_.wait(ready_);
  std::int64_t at = 0;
  for (const Tensor& from : buffers_) {
    copy(stream_, from, make_view(staging_.data<std::uint8_t>() + at, from.shape(), from.dtype()));
    at += static_cast<std::int64_t>(from.bytes());
  }
  stream_.record(copied_);
  copying_ = true, waited_ = false;
  current_ = {.path = directory_ / checkpoint_name(state.passes), .pass = state.passes};
  writing_ = std::async(std::launch::async, [this, root = tree(state, learning_rate, config_yaml), path = current_.path, keep,
                                             best = state.best_pass] {
    copied_.synchronize();
    const auto begin = Clock::now();
    io::write_torch_file(path, root);
    if (keep > 0) {
      std::vector<CheckpointFile> all = list_checkpoints(directory_);
      auto removable = [&](const CheckpointFile& f) { return f.pass != best && f.path != path; };
      for (std::size_t i = 0, left = all.size(); i < all.size() && left > static_cast<std::size_t>(keep); ++i)
        if (removable(all[i])) {
          fs::remove(all[i].path);
          --left;
        }
    }
    return seconds_since(begin);
  });
  current_.stall_seconds = seconds_since(start);
}

void CheckpointWriter::before_update() {
  if (!std::exchange(copying_, false)) return;
  stage_.stream.record(before_wait_);
  stage_.stream.wait(copied_);
  stage_.stream.record(after_wait_);
  waited_ = true;
}

void CheckpointWriter::poll() {
  if (!writing_.valid() || writing_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) return;
  if (waited_ && !after_wait_.done()) return;
  wait();
}

void CheckpointWriter::wait() {
  if (!writing_.valid()) return;
  SavedCheckpoint saved = current_;
  saved.write_seconds = writing_.get();
  if (waited_) {
    after_wait_.synchronize();
    saved.stall_seconds += after_wait_.milliseconds_since(before_wait_) * 1e-3;
  }
  saved.bytes = fs::file_size(saved.path);
  done_(saved);
}

// The `mfl` entry's configuration and counters go in as plain values that weights_only accepts.
Value CheckpointWriter::tree(const RunState& state, double learning_rate, const std::string& config_yaml) const {
  const GslrmStage& stage = stage_;
  Value model = Value::ordered_dict();
  for (const Param& p : stage.params.all()) model.set(p.name, piece(kValues, p.first, p.shape));
  std::size_t buffer = kFirstNetwork;
  for (const ParamStore* network : stage.networks.stores()) {
    for (const Param& p : network->all()) model.set(p.name, piece(buffer, p.first, p.shape));
    ++buffer;
  }

  const OptimizerConfig& c = stage.optimizer->config();
  const double base_lr = stage.config().training.optimizer.lr;
  const std::vector<const Param*> order = stage.optimizer->checkpoint_order();
  Value states = Value::dict();
  for (std::size_t i = 0; i < order.size() && state.updates > 0; ++i) {
    Value one = Value::dict();
    one.set("step", io::stored_scalar(static_cast<float>(state.updates)));
    one.set("exp_avg", piece(kExpAvg, order[i]->first, order[i]->shape));
    one.set("exp_avg_sq", piece(kExpAvgSq, order[i]->first, order[i]->shape));
    states.set(static_cast<std::int64_t>(i), one);
  }
  const auto decayed = static_cast<std::int64_t>(stage.optimizer->decayed());
  Value groups = Value::list();
  groups.push(param_group(c, learning_rate, base_lr, c.weight_decay, 0, decayed));
  groups.push(param_group(c, learning_rate, base_lr, 0.0, decayed, static_cast<std::int64_t>(order.size()) - decayed));
  Value optimizer = Value::dict();
  optimizer.set("state", states);
  optimizer.set("param_groups", groups);

  Value scheduler = Value::dict();
  scheduler.set("base_lrs", Value::list({base_lr, base_lr}));
  scheduler.set("last_epoch", state.schedule_updates);
  scheduler.set("verbose", false);
  scheduler.set("_step_count", state.schedule_updates + 1);
  scheduler.set("_get_lr_called_within_step", false);
  scheduler.set("_last_lr", Value::list({learning_rate, learning_rate}));
  scheduler.set("lr_lambdas", Value::list({Value::dict(), Value::dict()}));

  Value ours = Value::dict();
  ours.set("version", kVersion);
  ours.set("seed", std::int64_t{stage.config().mfl.seed});
  ours.set("data_step", static_cast<std::int64_t>(state.data_step));
  ours.set("best", state.best ? Value(*state.best) : Value());
  ours.set("best_pass", state.best_pass);
  ours.set("config", config_yaml);

  Value root = Value::dict();
  root.set("model", model);
  root.set("optimizer", optimizer);
  root.set("lr_scheduler", scheduler);
  root.set("fwdbwd_pass_step", state.passes);
  root.set("param_update_step", state.updates);
  root.set("mfl", ours);
  return root;
}

weights::Coverage load_weights(GslrmStage& stage, const fs::path& path, const std::vector<std::string>& allow_missing) {
  io::WeightFile file = io::open_model_weights(path);
  for (ParamStore* network : stage.networks.stores())
    for (const Param& p : network->all())
      if (const io::StoredTensor* t = file.find(p.name)) weights::load_parameter(stage.stream, p, *t, p.name);
  stage.networks.prepare(stage.stream, stage.weights, stage.params.precision().compute);
  // The rest is the model. A file may hold loss networks that this run does not use: they are not unexpected.
  std::erase_if(file.tensors, [](const io::NamedStored& t) { return t.name.starts_with("loss_calculator."); });
  return weights::load_parameters(stage.stream, stage.params, file, {.allow_missing = allow_missing, .log = false});
}

Resumed resume(GslrmStage& stage, const fs::path& path, const std::vector<std::string>& allow_missing) {
  const Value root = io::read_torch_file(path);
  if (!root.is_dict() || !root.find("optimizer") || !root.find("fwdbwd_pass_step"))
    throw_error<DataError>(path.string(), ": no optimizer state in this file, so a run cannot be resumed from it; to start a new "
                           "run from its weights use --init");
  Resumed r;
  r.coverage = load_weights(stage, path, allow_missing);
  const Value& states = root.at("optimizer").at("state");
  const std::vector<const Param*> order = stage.optimizer->checkpoint_order();
  // A state dict saved before the first update is empty.
  if (!states.entries().empty() && states.entries().size() != order.size())
    throw_error<DataError>(path.string(), ": optimizer state of ", states.entries().size(), " tensors, the run trains ",
                           order.size(), "; was it made with another training.freeze_layers? --init starts anew from its weights");
  std::int64_t updates = 0;
  for (std::size_t i = 0; i < order.size() && !states.entries().empty(); ++i) {
    const Value& one = states.at(static_cast<std::int64_t>(i));
    const Param& p = *order[i];
    for (auto [key, flat] : {std::pair{"exp_avg", stage.optimizer->exp_avg()}, {"exp_avg_sq", stage.optimizer->exp_avg_sq()}}) {
      const io::StoredTensor& t = one.at(key).tensor();
      if (t.shape != p.shape)
        throw_error<DataError>(path.string(), ": optimizer.state.", i, '.', key, ' ', t.shape, ", expected ", p.shape, " of ", p.name);
      put(stage.stream, t, flat.rows(p.first, p.numel()).reshape(p.shape), p.name);
    }
    updates = static_cast<std::int64_t>(one.at("step").number());
  }
  r.state.passes = root.at("fwdbwd_pass_step").integer();
  r.state.updates = updates;
  r.state.schedule_updates = root.at("lr_scheduler").at("last_epoch").integer();
  if (const Value* ours = root.find("mfl")) {
    r.state.data_step = static_cast<std::uint64_t>(ours->at("data_step").integer());
    if (const Value& best = ours->at("best"); !best.is_none()) r.state.best = best.number();
    r.state.best_pass = ours->at("best_pass").integer();
  } else {
    r.state.data_step = static_cast<std::uint64_t>(r.state.passes);   // Python's trainer keeps no data position
  }
  stage.optimizer->set_updates(stage.stream, updates);
  stage.stream.synchronize();
  return r;
}

}  // namespace mfl
