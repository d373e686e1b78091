#include "models/mvdiffusion/pipeline_files.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "runtime/error.h"
#include "runtime/io/atomic_file.h"
#include "runtime/io/safetensors.h"

namespace mfl::mvdiffusion {

namespace fs = std::filesystem;

namespace {

constexpr std::array<const char*, 6> kNeeded = {"unet", "vae", "image_encoder", "image_normalizer", "scheduler",
                                                "image_noising_scheduler"};

bool is_file(const fs::path& path) {
  std::error_code none;
  return fs::is_regular_file(path, none);
}

}  // namespace

fs::path component_folder(const fs::path& path, std::string_view sub_folder) {
  for (const fs::path& folder : {path / sub_folder, path})
    if (is_file(folder / "config.json")) return folder;
  throw_error<DataError>("Neither ", (path / sub_folder).string(), " nor ", path.string(),
                         " has a config.json: expected a folder in the diffusers layout.");
}

fs::path component_weights(const fs::path& folder) {
  constexpr std::array<const char*, 8> kNames = {
      "diffusion_pytorch_model.safetensors",      "model.safetensors",
      "diffusion_pytorch_model.bin",              "pytorch_model.bin",
      "diffusion_pytorch_model.fp16.safetensors", "model.fp16.safetensors",
      "diffusion_pytorch_model.fp16.bin",         "pytorch_model.fp16.bin"};
  for (const char* name : kNames)
    if (is_file(folder / name)) return folder / name;
  for (const char* name : kNames)
    if (is_file(folder / (std::string(name) + ".index.json")))
      throw_error<DataError>(folder.string(), " holds weights split over several files (", name,
                             ".index.json), which are not read. Save the component again in one file.");
  throw_error<DataError>(folder.string(), " has no weights: looked for ", kNames[0], ", ", kNames[1], ", ", kNames[2], ", ",
                         kNames[3], " and their fp16 variants.");
}

weights::Coverage load_component(const Stream& s, ParamStore& store, const fs::path& folder,
                                 const weights::LoadOptions& options,
                                 const std::function<void(std::vector<io::NamedStored>&)>& adapt) {
  io::WeightFile file = io::open_model_weights(component_weights(folder));
  if (adapt) adapt(file.tensors);
  return weights::load_parameters(s, store, file, options);
}

void write_component(const fs::path& folder, const std::string& file, const std::string& config,
                     const std::vector<io::NamedStored>& tensors) {
  const auto json = nlohmann::json::parse(config, nullptr, false);
  MFL_CHECK(json.is_object(), "write_component: the configuration for ", folder.string(), " is no JSON object");
  io::write_safetensors(folder / file, tensors, {{"format", "pt"}});
  io::write_text_file(folder / "config.json", json.dump(2) + "\n");
}

PipelineFiles::PipelineFiles(fs::path folder) : folder_(std::move(folder)) {
  std::error_code none;
  if (!fs::is_directory(folder_, none))
    throw_error<DataError>("The pipeline folder ", folder_.string(), " does not exist. FaceLift's is `pipeckpts` of ",
                           "its checkpoints/mvdiffusion; a name on a model hub has to be downloaded first.");
  if (!is_file(folder_ / "model_index.json"))
    throw_error<DataError>(folder_.string(), " has no model_index.json: expected a pipeline folder in the diffusers layout, ",
                           "such as FaceLift's `pipeckpts`, or `pipeckpts` in the output folder of a run that has ended.");
  index_ = JsonConfig::read(folder_ / "model_index.json");
  for (const char* name : kNeeded) {
    if (!index_.has(name)) throw_error<DataError>(index_.name(), " names no component \"", name, "\", which is needed.");
    if (!fs::is_directory(folder_ / name, none))
      throw_error<DataError>(folder_.string(), " has no folder ", name, ", which its model_index.json names.");
  }
}

NoiseSchedule read_schedule(const JsonConfig& config) {
  const auto steps = static_cast<int>(config.integer_in("num_train_timesteps", 2, 100000));
  if (config.has("trained_betas"))
    throw_error<DataError>(config.name(), ": \"trained_betas\" is given, expected null; tabulated schedules are not read.");
  const std::string kind = config.string("beta_schedule", "linear");
  if (kind == "squaredcos_cap_v2") return NoiseSchedule::squared_cosine(steps);
  if (kind != "scaled_linear")
    throw_error<DataError>(config.name(), ": \"beta_schedule\" is \"", kind,
                           "\", expected \"scaled_linear\" or \"squaredcos_cap_v2\".");
  const double first = config.number("beta_start", 0.0001), last = config.number("beta_end", 0.02);
  if (!(first > 0 && first <= last && last < 1))
    throw_error<DataError>(config.name(), ": betas from ", first, " to ", last, ", expected 0 < beta_start <= beta_end < 1.");
  return NoiseSchedule::scaled_linear(first, last, steps);
}

PipelineFiles::Scheduler PipelineFiles::scheduler() const {
  const JsonConfig config = JsonConfig::read(folder_ / "scheduler" / "scheduler_config.json");
  config.require("prediction_type", "epsilon", "v_prediction");
  return {read_schedule(config), static_cast<int>(config.integer("steps_offset", 0))};
}

NoiseSchedule PipelineFiles::embedding_noise() const {
  return read_schedule(JsonConfig::read(folder_ / "image_noising_scheduler" / "scheduler_config.json"));
}

void PipelineFiles::copy_frozen(const fs::path& target) const {
  std::error_code none;
  if (fs::equivalent(folder_, target, none))
    throw_error<DataError>("The trained pipeline would be written over the one it came from, ", folder_.string(),
                           ". Name another output folder.");
  try {
    fs::create_directories(target);
    for (const std::string& name : index_.keys()) {
      const fs::path from = folder_ / name;
      if (name.starts_with('_') || name == "unet" || !fs::is_directory(from)) continue;
      // A name in a JSON file must not lead out of the folder.
      if (fs::path(name).filename() != name || name == "..") continue;
      fs::copy(from, target / name, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
    }
    fs::copy_file(folder_ / "model_index.json", target / "model_index.json", fs::copy_options::overwrite_existing);
  } catch (const fs::filesystem_error& e) {
    throw_error<DataError>("Copying the pipeline ", folder_.string(), " to ", target.string(), ": ", e.code().message(), ".");
  }
}

}  // namespace mfl::mvdiffusion
