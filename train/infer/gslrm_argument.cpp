#include "train/infer/gslrm_argument.h"

#include <algorithm>

#include "runtime/io/byte_source.h"
#include "runtime/io/torch_file.h"
#include "runtime/io/weight_file.h"
#include "train/checkpoint.h"

namespace mfl::infer {

namespace fs = std::filesystem;

namespace {

constexpr const char* kWanted = "--gslrm names the second stage: a GS-LRM checkpoint (ckpt_*.pt), or a folder of them.";

fs::path checkpoint_file(const fs::path& path) {
  std::error_code none;
  if (!fs::exists(path, none)) throw_error<DataError>(path.string(), " does not exist. ", kWanted);
  if (!fs::is_directory(path, none)) return path;
  for (const char* part : {"model_index.json", "pipeckpts", "unet", "unet_ema"})
    if (fs::exists(path / part, none))
      throw_error<DataError>(path.string(), " belongs to MVDiffusion (it holds ", part, "), but ", kWanted,
                             " A pipeline of the first stage is given with --mvdiffusion.");
  const fs::path newest = newest_checkpoint(path);
  if (newest.empty()) throw_error<DataError>(path.string(), " holds no ckpt_*.pt. ", kWanted);
  return newest;
}

void require_gslrm(const fs::path& file) {
  const io::WeightFile weights = io::open_model_weights(file);
  const auto any = [&](const char* prefix) {
    return std::any_of(weights.tensors.begin(), weights.tensors.end(), [&](const auto& t) { return t.name.starts_with(prefix); });
  };
  if (any("transformer_layers.")) return;
  if (any("down_blocks.") || any("conv_in.") || any("encoder.down_blocks.") || any("vision_model."))
    throw_error<DataError>(file.string(), " holds a network of MVDiffusion, but ", kWanted, " A pipeline of the first stage is given with --mvdiffusion.");
  throw_error<DataError>(file.string(), " holds no GS-LRM: of its ", weights.tensors.size(), " tensors none is called transformer_layers.*. ", kWanted);
}

}  // namespace

GslrmFiles open_gslrm(const fs::path& path, const fs::path& config) {
  GslrmFiles g;
  if (!path.empty()) {
    g.checkpoint = checkpoint_file(path);
    require_gslrm(g.checkpoint);
  }
  if (!config.empty()) {
    g.config = load_gslrm_config(config.string()).config;
    g.config_source = config.string();
    return g;
  }
  if (g.checkpoint.empty()) throw_error<ConfigError>("--gslrm is missing: ", kWanted);
  std::error_code none;
  {
    const io::Source file = io::open_file(g.checkpoint);
    const std::vector<std::byte> head = file->read(0, std::min<std::uint64_t>(file->size(), 64));
    if (io::is_torch_file(head)) {
      const io::Value root = io::read_torch_file(g.checkpoint);
      if (const io::Value* ours = root.is_dict() ? root.find("mfl") : nullptr; ours && ours->is_dict())
        if (const io::Value* text = ours->find("config")) {
          g.config = parse_gslrm_config(text->string(), g.checkpoint.string()).config;
          g.config_source = g.checkpoint.string();
          return g;
        }
    }
  }
  const fs::path beside = g.checkpoint.parent_path() / "config.yaml";
  if (!fs::exists(beside, none))
    throw_error<DataError>(g.checkpoint.string(), " holds weights but not the model's configuration, and there is no config.yaml beside it. Give the "
                           "YAML file that it was trained with: --config configs/gslrm.yaml for the published weights.");
  g.config = load_gslrm_config(beside.string()).config;
  g.config_source = beside.string();
  return g;
}

}  // namespace mfl::infer
