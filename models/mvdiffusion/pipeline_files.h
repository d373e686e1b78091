// A pipeline folder (`pipeckpts`) in the diffusers layout, and one component of it:
//
//   model_index.json                          component -> [library, class]
//   <component>/config.json, weights          diffusion_pytorch_model.* of diffusers, model.* of transformers
//   scheduler/scheduler_config.json, ...
//
// Weights are safetensors or torch.save files of f32, f16 or bf16. Nothing here is a model: names and bytes only.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "models/mvdiffusion/json_config.h"
#include "models/mvdiffusion/schedulers.h"
#include "models/weights/coverage.h"
#include "runtime/io/weight_file.h"

namespace mfl::mvdiffusion {

// The folder X or X/<sub_folder>, whichever has `config.json`: `pretrained_unet_path` may name either. Throws DataError.
std::filesystem::path component_folder(const std::filesystem::path&, std::string_view sub_folder);

// The weights of a component's folder, the first of: diffusion_pytorch_model.safetensors, model.safetensors,
// diffusion_pytorch_model.bin, pytorch_model.bin; then the same with ".fp16" before the ending. Throws DataError: says what
// was looked for; weights split over several files are refused.
std::filesystem::path component_weights(const std::filesystem::path& folder);

// The component's tensors into the store, by name, with the coverage table. `adapt` may rename or drop names first
// (an older generation of the file).
weights::Coverage load_component(const Stream&, ParamStore&, const std::filesystem::path& folder,
                                 const weights::LoadOptions& = {},
                                 const std::function<void(std::vector<io::NamedStored>&)>& adapt = {});

// Writes folder/config.json (sorted keys, two spaces, as Python does) and folder/<file>, safetensors with {"format": "pt"}.
// `config` is JSON text. Each file is atomic; the weights come first, so that a config.json means a whole component.
void write_component(const std::filesystem::path& folder, const std::string& file, const std::string& config,
                     const std::vector<io::NamedStored>& tensors);

class PipelineFiles {
 public:
  // Throws DataError: no such folder, no model_index.json, or none of the components that are needed (unet, vae,
  // image_encoder, image_normalizer, scheduler, image_noising_scheduler).
  explicit PipelineFiles(std::filesystem::path folder);
  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path component(std::string_view name) const { return folder_ / name; }

  // scheduler/scheduler_config.json: the training and sampling schedule. Throws DataError unless it predicts velocity.
  struct Scheduler {
    NoiseSchedule schedule;
    int steps_offset;
  };
  Scheduler scheduler() const;
  // image_noising_scheduler/scheduler_config.json: the schedule of noise on image embeddings.
  NoiseSchedule embedding_noise() const;

  // All of the pipeline but the UNet, byte by byte, and its model_index.json, into another folder: a trained pipeline is
  // this and its own unet/. The target's model_index.json is written last.
  void copy_frozen(const std::filesystem::path& target) const;

 private:
  std::filesystem::path folder_;
  JsonConfig index_;
};

// A schedule from a scheduler_config.json of diffusers (DDPM, DDIM or PNDM): scaled_linear or squaredcos_cap_v2.
NoiseSchedule read_schedule(const JsonConfig&);

}  // namespace mfl::mvdiffusion
