// Whole runs of mfl_train as processes, with tiny models on the CPU: how to start them, what they leave, whether two of them left the
// same. A pass takes some 10 ms, a start a quarter of a second.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "models/mvdiffusion/tiny_pipeline.h"
#include "runtime/io/torch_file.h"
#include "tests/support/tiny_gslrm.h"
#include "train/checkpoint.h"
#include "train/mvdiffusion/checkpoint.h"

namespace mfl::test {

namespace fs = std::filesystem;

// A complete checkpoint of a run.
struct Complete {
  fs::path path;
  std::int64_t number = 0;
};

class TinyProgram {
 public:
  enum class Model { gslrm, mvdiffusion };

  // Writes data and configuration below `root`. Runs have `last` updates with a checkpoint after each.
  TinyProgram(Model model, fs::path program, fs::path root, int last) : model_(model), program_(std::move(program)), root_(std::move(root)), last_(last) {
    fs::create_directories(root_);
    const bool views = model_ == Model::mvdiffusion;
    write_scenes(root_ / "scenes.h5", views ? 6 : 4, views ? 8 : 16);
    if (views) mvdiffusion::write_tiny_pipeline(root_ / "pipeline", {.image = 8, .widths = {32}});
    std::ofstream(root_ / "run.yaml") << (views ? view_config() : gslrm_config());
  }

  const char* name() const { return model_ == Model::gslrm ? "GS-LRM" : "MVDiffusion"; }
  Model model() const { return model_; }
  fs::path config() const { return root_ / "run.yaml"; }
  int last() const { return last_; }
  // Part of the path of everything that belongs to a checkpoint and of nothing else.
  const char* checkpoint_part() const { return model_ == Model::gslrm ? "ckpt_" : "checkpoint-"; }
  fs::path log(const fs::path& run) const { return (model_ == Model::gslrm ? run : run / "logs") / "log.jsonl"; }

  std::vector<std::string> command(const fs::path& run, std::vector<std::string> more = {}) const {
    std::vector<std::string> c = {program_.string(), (root_ / "run.yaml").string(), "--output", run.string()};
    c.insert(c.end(), more.begin(), more.end());
    return c;
  }

  // Oldest first.
  std::vector<Complete> checkpoints(const fs::path& run) const {
    std::vector<Complete> all;
    if (model_ == Model::gslrm)
      for (const auto& c : list_checkpoints(run)) all.push_back({c.path, c.pass});
    else
      for (const auto& c : mvdiffusion::list_checkpoints(run)) all.push_back({c.path, c.step});
    return all;
  }
  // Everything of a checkpoint that a run goes on from, by name; reads it whole and checks its CRCs. Throws DataError.
  std::map<std::string, std::string> state(const fs::path& checkpoint) const {
    std::map<std::string, std::string> out;
    if (model_ == Model::gslrm) {
      const io::Value file = io::read_torch_file(checkpoint);
      for (const auto& [name, t] : io::tensors_of(file))
        io::for_each_piece(t, name, [&](std::span<const std::byte> b) { out[name].append(reinterpret_cast<const char*>(b.data()), b.size()); });
      for (const char* counter : {"fwdbwd_pass_step", "param_update_step"}) out[counter] = std::to_string(file.at(counter).integer());
      out["last_epoch"] = std::to_string(file.at("lr_scheduler").at("last_epoch").integer());
      out["data_position"] = std::to_string(file.at("mfl").at("data_position").integer());
      return out;
    }
    mvdiffusion::check_files(checkpoint);
    for (const char* file : {"unet/diffusion_pytorch_model.safetensors", "unet_ema/diffusion_pytorch_model.safetensors", "unet_ema/config.json",
                             "optimizer.bin", "scheduler.bin"})
      out[file] = bytes(checkpoint / file);
    const nlohmann::json ours = nlohmann::json::parse(bytes(checkpoint / "mfl.json"));
    for (const char* counter : {"step", "updates", "schedule_count", "data_position", "ema_updates"}) out[counter] = ours.at(counter).dump();
    return out;
  }
  // Saves that were cut off before the checkpoint had its name.
  int half_written(const fs::path& run) const {
    int n = 0;
    for (const auto& entry : fs::directory_iterator(run)) {
      const std::string file = entry.path().filename().string();
      n += file.starts_with('.') && file.ends_with(".partial") && file.find(".old.") == std::string::npos &&
           (file.find(checkpoint_part()) != std::string::npos || file.find("pipeckpts") != std::string::npos);
    }
    return n;
  }

  static std::string bytes(const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

 private:
  std::string gslrm_config() const {
    return tiny_gslrm_yaml({.data = (root_ / "scenes.h5").string(), .batch = 2, .workers = 1, .passes = last_, .save_every = 1, .pictures_every = 0});
  }
  std::string view_config() const {
    return R"(
n_views: 6
img_wh: 8
pretrained_model_name_or_path: )" + (root_ / "pipeline").string() + R"(
prompt_embed_path: )" + mvdiffusion::tiny_prompts(root_ / "pipeline").string() + R"(
train_dataset: {path: )" + (root_ / "scenes.h5").string() + R"(, bg_color: three_choices}
train_batch_size: 2
max_train_steps: )" + std::to_string(last_) + R"(
learning_rate: 1e-3
max_grad_norm: 1.0
checkpointing_steps: 1
dataloader_num_workers: 1
resume_from_checkpoint: latest
mfl: {device: cpu, print_every: 1}
)";
  }

  Model model_;
  fs::path program_, root_;
  int last_;
};

// The loss of every pass as the log has it: a start line makes lines of later passes void. Throws on a line that is no JSON, unless a
// start line follows: a process was killed in it.
inline std::map<std::int64_t, std::string> logged_losses(const fs::path& log) {
  std::map<std::int64_t, std::string> out;
  std::ifstream in(log);
  bool broken = false;
  for (std::string line; std::getline(in, line);) {
    const nlohmann::json j = nlohmann::json::parse(line, nullptr, false);
    if (j.is_discarded()) {
      broken = true;
      continue;
    }
    if (j["event"] == "start") out.erase(out.upper_bound(j["pass"].get<std::int64_t>()), out.end());
    else if (broken) throw std::runtime_error(log.string() + " has a broken line that no start follows");
    broken = false;
    if (j["event"] == "step") out[j["pass"]] = j["loss"].dump();
  }
  return out;
}

}  // namespace mfl::test
