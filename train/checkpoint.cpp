#include "train/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <regex>
#include <utility>

#include "runtime/io/atomic_folder.h"
#include "runtime/io/atomic_file.h"
#include "runtime/io/torch_file.h"
#include "runtime/io/weight_file.h"
#include "runtime/log.h"
#include "train/torch_optimizer.h"

namespace mfl {
namespace {

namespace fs = std::filesystem;
using io::Value;

constexpr int kVersion = 1;

// Buffers of a checkpoint in the order of state_of.
enum Buffer : std::size_t { kValues, kExpAvg, kExpAvgSq, kFirstNetwork };

std::vector<SavedBuffer> state_of(const GslrmStage& stage) {
  const Sharding* sharding = &stage.optimizer->sharding();
  std::vector<SavedBuffer> all = {stage.params.values(), {stage.optimizer->exp_avg(), sharding}, {stage.optimizer->exp_avg_sq(), sharding}};
  for (const ParamStore* network : stage.networks.stores()) all.push_back(network->values());
  return all;
}

// What an element of these buffers is, for the writing thread: names only.
SaveOptions naming(SaveOptions o, const GslrmStage& stage) {
  o.what = [&stage](std::size_t buffer, std::int64_t element) {
    if (buffer >= kFirstNetwork) return element_of(*stage.networks.stores()[buffer - kFirstNetwork], "the weight", element);
    return element_of(stage.params, buffer == kValues ? "the weight" : buffer == kExpAvg ? "the first moment" : "the second moment", element);
  };
  return o;
}

// Keeps `keep` of the checkpoints up to this pass; the newest and the best are among them. What cannot be removed stays, with a
// warning: the new one is there.
void prune(const fs::path& directory, std::int64_t pass, std::int64_t best, std::size_t keep) {
  std::vector<CheckpointFile> all = list_checkpoints(directory);
  std::erase_if(all, [&](const CheckpointFile& c) { return c.pass > pass; });
  std::size_t left = all.size();
  for (const CheckpointFile& c : all) {
    if (left <= keep || c.pass == pass || c.pass == best) continue;
    std::error_code bad;
    if (!fs::remove(c.path, bad) && bad)
      log_warning("the old checkpoint ", c.path.string(), " cannot be removed: ", bad.message(), ". It takes room until somebody removes it.");
    --left;
  }
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
  if (c.mfl.resume == "auto") {   // a run that passes over a damaged one finds them in the one before
    auto all = list_checkpoints(ck.checkpoint_dir);
    for (auto it = all.rbegin(); it != all.rend(); ++it) s.checkpoints.push_back(it->path.string());
  }
  for (const std::string& from : {c.mfl.resume == "auto" || c.mfl.resume == "never" ? std::string() : c.mfl.resume, c.mfl.init, ck.resume_ckpt})
    if (const fs::path p = from.empty() ? fs::path{} : newest_checkpoint(from); !p.empty()) s.checkpoints.push_back(p.string());
  return s;
}

std::uint64_t CheckpointWriter::staging_bytes(const GslrmStage& stage) { return BackgroundSave::staging_bytes(state_of(stage)); }

std::unique_ptr<StateSender> CheckpointWriter::sender(const GslrmStage& stage) {
  return std::make_unique<StateSender>(stage.stream, state_of(stage));
}

CheckpointWriter::CheckpointWriter(GslrmStage& stage, fs::path directory, SaveOptions options)
    : stage_(stage), directory_(std::move(directory)), verify_(options.verify), background_(stage.stream, state_of(stage), naming(std::move(options), stage)) {
  if (const int left = io::remove_partial_files(directory_, "ckpt_"); left > 0)
    log_info(directory_.string(), ": removed ", left, " half-written checkpoint", left == 1 ? "" : "s", " of a run that was stopped");
}

void CheckpointWriter::save(const RunState& state, double learning_rate, const std::string& config_yaml, int keep) {
  const fs::path path = directory_ / checkpoint_name(state.passes);
  background_.start(path, state.passes, [directory = directory_, root = tree(state, learning_rate, config_yaml), path, keep,
                                         pass = state.passes, best = state.best_pass, verify = verify_] {
    io::write_torch_file(path, root, verify);
    if (keep > 0) prune(directory, pass, best, static_cast<std::size_t>(keep));
    return fs::file_size(path);
  });
}

// The `mfl` entry's configuration and counters go in as plain values that weights_only accepts.
Value CheckpointWriter::tree(const RunState& state, double learning_rate, const std::string& config_yaml) const {
  const GslrmStage& stage = stage_;
  Value model = Value::ordered_dict();
  for (const Param& p : stage.params.all()) model.set(p.name, background_.piece(kValues, p).tensor);
  std::size_t buffer = kFirstNetwork;
  for (const ParamStore* network : stage.networks.stores()) {
    for (const Param& p : network->all()) model.set(p.name, background_.piece(buffer, p).tensor);
    ++buffer;
  }

  const AdamWState adamw{.optimizer = *stage.optimizer, .updates = state.updates, .learning_rate = learning_rate,
                         .base_learning_rate = stage.config().training.optimizer.lr, .fused = true,
                         .piece = [&](Moment m, const Param& p) {
                           return background_.piece(m == Moment::exp_avg ? kExpAvg : kExpAvgSq, p).tensor;
                         }};
  Value ours = Value::dict();
  ours.set("version", kVersion);
  ours.set("seed", std::int64_t{stage.config().mfl.seed});
  ours.set("data_position", static_cast<std::int64_t>(state.data_position.value_or(0)));
  ours.set("samples_an_update", state.samples_an_update);
  ours.set("schedule_start", state.schedule_start);
  ours.set("best", state.best ? Value(*state.best) : Value());
  ours.set("best_pass", state.best_pass);
  ours.set("config", config_yaml);

  Value root = Value::dict();
  root.set("model", model);
  root.set("optimizer", adamw_state_dict(adamw));
  root.set("lr_scheduler", lambda_lr_state_dict(adamw, state.schedule_updates, Value::dict()));
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
  check_adamw_state(*stage.optimizer, root.at("optimizer"), path.string(),
                    "was it made with another training.freeze_layers? --init starts anew from its weights");
  Resumed r;
  r.coverage = load_weights(stage, path, allow_missing);
  r.state.passes = root.at("fwdbwd_pass_step").integer();
  r.state.updates = load_adamw_state(stage.stream, *stage.optimizer, root.at("optimizer"));
  r.state.schedule_updates = root.at("lr_scheduler").at("last_epoch").integer();
  const auto& rates = root.at("lr_scheduler").at("base_lrs").items();
  if (!rates.empty()) r.learning_rate = rates.front().number();
  if (const Value* ours = root.find("mfl")) {
    if (const Value* at = ours->find("data_position")) r.state.data_position = static_cast<std::uint64_t>(at->integer());
    if (const Value* count = ours->find("samples_an_update")) r.state.samples_an_update = count->integer();
    if (const Value* start = ours->find("schedule_start")) r.state.schedule_start = start->integer();
    if (const Value& best = ours->at("best"); !best.is_none()) r.state.best = best.number();
    r.state.best_pass = ours->at("best_pass").integer();
  }
  return r;
}

}  // namespace mfl
