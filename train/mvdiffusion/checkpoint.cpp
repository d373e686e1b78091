#include "train/mvdiffusion/checkpoint.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <regex>
#include <utility>

#include "models/mvdiffusion/pipeline_files.h"
#include "models/weights/coverage.h"
#include "runtime/error.h"
#include "runtime/io/atomic_file.h"
#include "runtime/io/atomic_folder.h"
#include "runtime/io/safetensors.h"
#include "runtime/io/torch_file.h"
#include "runtime/log.h"
#include "train/torch_optimizer.h"

namespace mfl::mvdiffusion {
namespace {

namespace fs = std::filesystem;
using io::Value;
using nlohmann::json;

constexpr int kVersion = 1;
constexpr const char *kWeights = "diffusion_pytorch_model.safetensors", *kOurs = "mfl.json";
constexpr const char *kPrefix = "checkpoint-", *kPipeline = "pipeckpts";

// Buffers of a checkpoint in the order of state_of.
enum Buffer : std::size_t { kValues, kExpAvg, kExpAvgSq, kAverage };

std::vector<SavedBuffer> state_of(const Trained& t) {
  const Sharding* sharding = &t.optimizer.sharding();
  std::vector<SavedBuffer> all = {t.params.values(), {t.optimizer.exp_avg(), sharding}, {t.optimizer.exp_avg_sq(), sharding}};
  if (t.ema) all.push_back({t.ema->shadow(), &t.ema->sharding()});
  return all;
}

// What an element of these buffers is, for the writing thread: names only.
SaveOptions naming(SaveOptions o, const ParamStore& params) {
  o.what = [&params](std::size_t buffer, std::int64_t element) {
    static constexpr const char* kNames[] = {"the weight", "the first moment", "the second moment", "the moving average"};
    return element_of(params, kNames[buffer], element);
  };
  return o;
}

// A component that is to be written: its config.json and its tensors.
struct Component {
  std::string folder, config;
  std::vector<io::NamedStored> tensors;
};

// Throws DataError unless the file holds exactly these tensors, bit by bit.
void compare_written(const fs::path& path, const std::vector<io::NamedStored>& wanted) {
  const io::SafetensorsFile file(path);
  auto differs = [&](const std::string& what) {
    throw_error<DataError>(path.string(), " was read back and differs from what was written: ", what,
                           ". The disk or its file system damages data; the checkpoint is not kept.");
  };
  if (file.tensors().size() != wanted.size()) differs(text(file.tensors().size(), " tensors of ", wanted.size()));
  std::vector<std::byte> found;
  for (const io::NamedStored& w : wanted) {
    const io::StoredTensor* t = file.find(w.name);
    if (!t || !(t->shape == w.tensor.shape) || t->type() != w.tensor.type()) differs(w.name);
    std::uint64_t at = static_cast<std::uint64_t>(t->offset) * io::size_of(t->type());
    io::for_each_piece(w.tensor, w.name, [&](std::span<const std::byte> piece) {
      found.resize(piece.size());
      t->storage->read(at, found);   // contiguous, as all of this format
      if (std::memcmp(found.data(), piece.data(), piece.size()) != 0) differs(w.name);
      at += piece.size();
    });
  }
}

void write(const fs::path& root, const Component& c) {
  write_component(root / c.folder, kWeights, c.config, c.tensors);
  compare_written(root / c.folder / kWeights, c.tensors);
}

// unet_ema/config.json: the UNet's and the average's own fields.
std::string with_fields(const std::string& config, const std::string& more) {
  json j = json::parse(config);
  j.update(json::parse(more));
  return j.dump();
}

// What accelerate's load_state needs beside the model: its step counts micro-batches within an accumulation, and a checkpoint lies
// between two. Without the other states it logs that it "could not load random states" and goes on.
Value accelerate_states() {
  Value root = Value::dict();
  root.set("step", 0);
  return root;
}
// The loss scale of fp16 training in Python, as it is after its first step: 65536 overflows there (reference, trap 15).
Value grad_scaler() {
  Value root = Value::dict();
  root.set("scale", 32768.0);
  root.set("growth_factor", 2.0);
  root.set("backoff_factor", 0.5);
  root.set("growth_interval", 2000);
  root.set("_growth_tracker", 0);
  return root;
}

// {"relative/path": {"bytes": n, "crc32": c}} of every file below a folder.
json manifest(const fs::path& root) {
  json files = json::object();
  for (const auto& entry : fs::recursive_directory_iterator(root))
    if (entry.is_regular_file())
      files[fs::relative(entry.path(), root).generic_string()] = {{"bytes", entry.file_size()}, {"crc32", io::file_crc32(entry.path())}};
  return files;
}

// Throws DataError unless the disk holds what was written.
void read_back(io::AtomicFolder& folder, const json& written) {
  folder.sync();
  io::drop_cached_pages(folder.temporary());
  const json found = manifest(folder.temporary());
  for (const auto& [name, entry] : written.items())
    if (!found.contains(name) || found[name] != entry)
      throw_error<DataError>((folder.temporary() / name).string(), " was written, but read back from the disk it is another: is the disk sound? ",
                             "The checkpoint is not kept; older ones are.");
}

bool is_file(const fs::path& p) {
  std::error_code none;
  return fs::is_regular_file(p, none);
}

// Has all that a resume needs: Python's trainer writes a folder in place, and may have been stopped in between.
bool whole(const fs::path& checkpoint) {
  if (is_file(checkpoint / kOurs)) return true;   // written last but for the rename
  if (!is_file(checkpoint / "optimizer.bin") || !is_file(checkpoint / "scheduler.bin") || !is_file(checkpoint / "unet" / "config.json"))
    return false;
  try {
    component_weights(checkpoint / "unet");
    return true;
  } catch (const DataError&) {
    return false;
  }
}

std::optional<std::int64_t> step_of(const std::string& name) {
  static const std::regex pattern("checkpoint-([0-9]{1,15})");
  std::smatch m;
  if (!std::regex_match(name, m, pattern)) return {};
  return std::stoll(m[1]);
}

// Keeps `limit` of the checkpoints up to this step; the newest and the best are among them.
void prune(const fs::path& directory, std::int64_t step, std::int64_t best, std::int64_t limit) {
  std::vector<CheckpointFolder> all = list_checkpoints(directory);
  const auto other = std::erase_if(all, [&](const CheckpointFolder& c) { return c.step > step; });
  if (other > 0)
    log_warning(directory.string(), " holds ", other, " checkpoints of later steps than ", step,
                ": another run's. They are left alone; `resume_from_checkpoint: latest` would take the last of them.");
  for (std::size_t i = 0, left = all.size(); i < all.size() && left > static_cast<std::size_t>(std::max<std::int64_t>(limit, 1)); ++i) {
    if (all[i].step == step || all[i].step == best) continue;
    --left;
    try {
      io::remove_folder(all[i].path);
    } catch (const DataError& e) {   // the new one is there
      log_warning("an old checkpoint takes room until somebody removes it: ", e.what());
    }
  }
}

io::WeightFile weights_of(const fs::path& folder) { return io::open_model_weights(component_weights(folder)); }

std::string types_of(const io::WeightFile& file) {
  std::vector<io::StoredType> types;
  for (const io::NamedStored& t : file.tensors)
    if (std::find(types.begin(), types.end(), t.tensor.type()) == types.end()) types.push_back(t.tensor.type());
  std::string s;
  for (io::StoredType t : types) s += (s.empty() ? "" : ", ") + std::string(io::name_of(t));
  return s;
}

}  // namespace

// ---- writing ----

std::uint64_t CheckpointWriter::staging_bytes(const Trained& t) { return BackgroundSave::staging_bytes(state_of(t)); }

std::unique_ptr<StateSender> CheckpointWriter::sender(const Trained& t) {
  return std::make_unique<StateSender>(t.stream, state_of(t));
}

CheckpointWriter::CheckpointWriter(Trained trained, fs::path directory, SaveOptions options)
    : trained_(std::move(trained)), directory_(std::move(directory)), verify_(options.verify),
      background_(trained_.stream, state_of(trained_), naming(std::move(options), trained_.params)) {
  if (const int left = io::remove_partial_folders(directory_, kPrefix) + io::remove_partial_folders(directory_, kPipeline); left > 0)
    log_info(directory_.string(), ": removed ", left, " half-written checkpoint", left == 1 ? "" : "s", " of a run that was stopped");
}

std::vector<io::NamedStored> CheckpointWriter::tensors(std::size_t buffer) const {
  std::vector<io::NamedStored> all;
  for (const Param& p : trained_.params.all()) all.push_back(background_.piece(buffer, p));
  return all;
}

void CheckpointWriter::save(const RunState& state, double learning_rate, double base_learning_rate, const std::string& config_yaml,
                            std::optional<std::int64_t> limit) {
  // All that refers to tensors is made here; the thread has names, numbers and addresses of the copies.
  std::vector<Component> components = {{"unet", trained_.config, tensors(kValues)}};
  if (trained_.ema) components.push_back({"unet_ema", with_fields(trained_.config, trained_.ema->config_fields()), tensors(kAverage)});
  const AdamWState adamw{.optimizer = trained_.optimizer, .updates = state.updates, .learning_rate = learning_rate,
                         .base_learning_rate = base_learning_rate, .empty_groups = false, .piece = [&](Moment m, const Param& p) {
                           return background_.piece(m == Moment::exp_avg ? kExpAvg : kExpAvgSq, p).tensor;
                         }};
  std::vector<std::pair<std::string, Value>> files = {
      {"optimizer.bin", adamw_state_dict(adamw)},
      {"scheduler.bin", lambda_lr_state_dict(adamw, state.schedule_count, Value())},
      {"random_states_0.pkl", accelerate_states()},
      {"scaler.pt", grad_scaler()}};
  json ours = {{"version", kVersion},
               {"step", state.step},
               {"updates", state.updates},
               {"schedule_count", state.schedule_count},
               {"data_position", state.data_position.value_or(0)},
               {"objects_an_update", state.objects_an_update},
               {"best", state.best ? json(*state.best) : json()},
               {"best_step", state.best_step},
               {"ema_updates", trained_.ema ? trained_.ema->updates() : 0},
               {"config", config_yaml}};
  const fs::path target = directory_ / text(kPrefix, state.step);
  background_.start(target, state.step, [=, directory = directory_, step = state.step, best = state.best_step, verify = verify_]() mutable {
    io::AtomicFolder folder(target);
    const fs::path& to = folder.temporary();
    for (const Component& c : components) write(to, c);
    for (const auto& [name, value] : files) io::write_torch_file(to / name, value);
    ours["files"] = manifest(to);
    io::write_text_file(to / kOurs, ours.dump(2, ' ', false, json::error_handler_t::replace) + "\n");   // paths may be no UTF-8
    const std::uint64_t bytes = io::folder_bytes(to);
    if (verify) read_back(folder, ours["files"]);
    folder.commit();
    if (limit) prune(directory, step, best, *limit);
    return bytes;
  });
}

void check_pipeline_target(const fs::path& source, const fs::path& target) {
  std::error_code none;
  if (fs::equivalent(source, target, none))
    throw_error<DataError>("The trained pipeline would be written over the one that the run begins with, ", source.string(),
                           ". Name another output folder.");
}

void CheckpointWriter::save_pipeline(const fs::path& source, const fs::path& target, std::int64_t step) {
  check_pipeline_target(source, target);
  const PipelineFiles files(source);
  const Component unet{"unet", trained_.config, tensors(trained_.ema ? kAverage : kValues)};
  background_.start(target, step, [files, unet, target, verify = verify_] {
    io::AtomicFolder folder(target);
    write(folder.temporary(), unet);
    files.copy_frozen(folder.temporary());
    for (const auto& entry : fs::recursive_directory_iterator(folder.temporary())) {
      const fs::path name = fs::relative(entry.path(), folder.temporary());
      if (!entry.is_regular_file() || name.begin()->string() == "unet") continue;
      if (io::file_crc32(entry.path()) != io::file_crc32(files.folder() / name))
        throw_error<DataError>(target.string(), " was not written: the copy of ", (files.folder() / name).string(), " differs from it.");
    }
    const std::uint64_t bytes = io::folder_bytes(folder.temporary());
    if (verify) read_back(folder, manifest(folder.temporary()));
    folder.commit();
    return bytes;
  });
}

// ---- finding ----

std::vector<CheckpointFolder> list_checkpoints(const fs::path& directory) {
  std::vector<CheckpointFolder> found;
  std::error_code missing;
  for (const auto& e : fs::directory_iterator(directory, missing))
    if (const auto step = step_of(e.path().filename().string()); step && e.is_directory(missing)) found.push_back({e.path(), *step});
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
  return found;
}

fs::path checkpoint_to_resume(const fs::path& directory, const std::optional<std::string>& resume_from_checkpoint) {
  if (!resume_from_checkpoint || resume_from_checkpoint->empty()) return {};
  if (*resume_from_checkpoint == "latest") {
    std::vector<CheckpointFolder> all = list_checkpoints(directory);
    for (; !all.empty(); all.pop_back()) {
      if (whole(all.back().path)) return all.back().path;
      log_warning(all.back().path.string(), " is not whole: its unet, optimizer.bin or scheduler.bin is missing; trying the one before it");
    }
    return {};
  }
  fs::path given = *resume_from_checkpoint;
  if (!given.has_filename()) given = given.parent_path();   // "checkpoint-500/"
  std::error_code none;
  for (const fs::path& p : {given, directory / given.filename()})
    if (fs::is_directory(p, none)) return p;
  std::string known;
  for (const CheckpointFolder& c : list_checkpoints(directory)) known += (known.empty() ? "" : ", ") + c.path.filename().string();
  throw_error<ConfigError>("resume_from_checkpoint: there is no folder ", *resume_from_checkpoint, " and none of that name in ",
                           directory.string(), "; ", known.empty() ? "it holds no checkpoints" : "it holds " + known,
                           ". Expected \"latest\", a checkpoint-N, or null.");
}

// ---- resuming ----

void check_files(const fs::path& checkpoint) {
  if (!is_file(checkpoint / kOurs)) return;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> list(std::fopen((checkpoint / kOurs).c_str(), "r"), std::fclose);
  const json ours = list ? json::parse(list.get(), nullptr, false) : json();
  if (!ours.is_object() || !ours.contains("files") || !ours["files"].is_object())
    throw_error<DataError>((checkpoint / kOurs).string(), " is damaged: it has no list of files.");
  for (const auto& [name, written] : ours["files"].items()) {
    const fs::path file = checkpoint / name;
    if (file.extension() != ".safetensors") continue;
    if (!is_file(file)) throw_error<DataError>(file.string(), " is missing.");
    const json found = {{"bytes", fs::file_size(file)}, {"crc32", io::file_crc32(file)}};
    if (found != written)
      throw_error<DataError>(file.string(), " is damaged: it has ", found["bytes"], " bytes and the CRC-32 ", found["crc32"], ", but ",
                             written.value("bytes", json()), " and ", written.value("crc32", json()), " were written.");
  }
}

Resumed resume(const Trained& t, const fs::path& checkpoint) {
  const std::string name = checkpoint.string();
  std::error_code none;
  if (!fs::is_directory(checkpoint, none)) throw_error<DataError>(name, " is no folder: expected a checkpoint-N.");
  if (!fs::is_directory(checkpoint / "unet", none))
    throw_error<DataError>(name, " has no folder unet. FaceLift's trainer writes unet and unet_ema under checkpoint_prefix twice "
                           "(checkpoints/checkpoints/...): move them here. To begin anew from weights use pretrained_unet_path.");
  for (const char* file : {"optimizer.bin", "scheduler.bin"})
    if (!is_file(checkpoint / file))
      throw_error<DataError>(name, " has no ", file, ", so a run cannot be resumed from it; to begin anew from its weights set "
                             "pretrained_unet_path to it.");
  Resumed r;
  r.ours = is_file(checkpoint / kOurs);
  std::optional<JsonConfig> ours;
  if (r.ours) {
    ours = JsonConfig::read(checkpoint / kOurs);
    ours->integer_in("version", 1, kVersion);
    r.state.step = ours->integer_in("step", 0, std::int64_t{1} << 50);
  } else {
    const auto step = step_of((checkpoint.has_filename() ? checkpoint : checkpoint.parent_path()).filename().string());
    if (!step) throw_error<DataError>(name, ": its step is in its name, which should be checkpoint-N; rename it.");
    r.state.step = *step;
  }

  // Everything is looked at before anything is taken.
  const io::WeightFile live = weights_of(checkpoint / "unet");
  const weights::Coverage coverage = weights::compare(t.params, live);
  weights::require_complete(coverage, {});
  std::optional<io::WeightFile> average;
  if (t.ema && fs::is_directory(checkpoint / "unet_ema", none)) {
    average = weights_of(checkpoint / "unet_ema");
    weights::require_complete(weights::compare(t.params, *average), {});
  }
  const Value optimizer = io::read_torch_file(checkpoint / "optimizer.bin"), scheduler = io::read_torch_file(checkpoint / "scheduler.bin");
  check_adamw_state(t.optimizer, optimizer, (checkpoint / "optimizer.bin").string(),
                    "was it made with other trainable_modules, or by another version of the network? To begin anew from its "
                    "weights set pretrained_unet_path to it");
  r.state.schedule_count = scheduler.at("last_epoch").integer();

  weights::load_parameters(t.stream, t.params, live, {.log = false});
  r.state.updates = load_adamw_state(t.stream, t.optimizer, optimizer);
  if (average) {
    for (const Param& p : t.params.all()) t.ema->sharding().load(t.stream, t.ema->shadow(), p, *average->find(p.name), p.name);
    t.ema->set_updates(JsonConfig::read(checkpoint / "unet_ema" / "config.json").integer("optimization_step", 0));
  } else if (t.ema) {
    t.ema->restart(t.stream);
  }
  t.stream.synchronize();
  if (ours) {
    if (ours->has("data_position")) r.state.data_position = static_cast<std::uint64_t>(ours->integer_in("data_position", 0, std::int64_t{1} << 50));
    if (ours->has("objects_an_update")) r.state.objects_an_update = ours->integer_in("objects_an_update", 0, std::int64_t{1} << 40);
    if (ours->has("best")) r.state.best = ours->number("best");
    r.state.best_step = ours->integer("best_step", -1);
  }

  std::string extra;
  for (const auto& e : fs::directory_iterator(checkpoint)) {
    if (r.ours) break;   // what else is there was written for Python
    static const std::vector<std::string> read = {"unet", "unet_ema", "optimizer.bin", "scheduler.bin", kOurs};
    const std::string file = e.path().filename().string();
    if (std::find(read.begin(), read.end(), file) == read.end()) extra += (extra.empty() ? "" : ", ") + file;
  }
  r.table = text(name, ", written by ", r.ours ? "this program" : "accelerate", ": step ", r.state.step, "\n  unet        ",
                 coverage.loaded.size(), " of ", t.params.all().size(), " tensors, ", coverage.loaded_numel, " values, ", types_of(live),
                 coverage.unexpected.empty() ? std::string() : text("; ", coverage.unexpected.size(), " more in the file are not used"),
                 "\n  optimizer   ", r.state.updates == 0 ? std::string("no state yet") : text("moments after ", r.state.updates, " updates"),
                 "\n  scheduler   count ", r.state.schedule_count, "\n  unet_ema    ",
                 !t.ema      ? std::string("not used (use_ema: false)")
                 : average   ? text(average->tensors.size(), " tensors, ", types_of(*average), ", after ", t.ema->updates(), " updates")
                             : std::string("not in the folder: the average begins anew at the weights"),
                 "\n  data        ",
                 r.state.data_position ? text("goes on at position ", *r.state.data_position) : std::string("no position: goes on where this configuration would stand at the run's step"),
                 extra.empty() ? std::string() : text("\n  not taken   ", extra, ": random numbers follow seed and step"));
  return r;
}

}  // namespace mfl::mvdiffusion
