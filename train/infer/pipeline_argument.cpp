#include "train/infer/pipeline_argument.h"

#include <string>

#include "runtime/error.h"
#include "runtime/io/weight_file.h"
#include "runtime/log.h"

namespace mfl::infer {

namespace fs = std::filesystem;

namespace {

bool is_gslrm(const fs::path& file) try {
  const io::WeightFile weights = io::open_model_weights(file);
  for (const io::NamedStored& t : weights.tensors)
    if (t.name.starts_with("transformer_layers.") || t.name.starts_with("patch_embedder.")) return true;
  return false;
} catch (const Error&) {
  return false;
}

}  // namespace

mvdiffusion::PipelineFiles open_pipeline(const fs::path& path) {
  std::error_code none;
  if (fs::is_regular_file(path, none)) {
    if (is_gslrm(path))
      throw_error<DataError>(path.string(), " is a GS-LRM checkpoint, but --mvdiffusion names the first stage: a pipeline folder in the "
                             "diffusers layout (FaceLift's pipeckpts). A GS-LRM checkpoint is given with --gslrm.");
    throw_error<DataError>(path.string(), " is a file, but --mvdiffusion names a folder in the diffusers layout (FaceLift's pipeckpts).");
  }
  if (fs::is_regular_file(path / "model_index.json", none)) return mvdiffusion::PipelineFiles(path);
  if (fs::is_regular_file(path / "pipeckpts" / "model_index.json", none)) return mvdiffusion::PipelineFiles(path / "pipeckpts");
  if (fs::is_directory(path, none)) {
    if (fs::exists(path / "unet_ema", none) || (fs::exists(path / "unet" / "config.json", none) && fs::exists(path / "optimizer.bin", none)))
      throw_error<DataError>(path.string(), " is a checkpoint of MVDiffusion's training: it holds a UNet but not the other components. Name "
                             "the pipeline that it was trained from with --mvdiffusion, and ", (path / "unet_ema").string(), " with --unet.");
    for (const auto& entry : fs::directory_iterator(path, none)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("ckpt_") && name.ends_with(".pt"))
        throw_error<DataError>(path.string(), " holds GS-LRM checkpoints (", name, "), but --mvdiffusion names the first stage: a pipeline "
                               "folder in the diffusers layout (FaceLift's pipeckpts). GS-LRM's are given with --gslrm.");
      if (name.starts_with("checkpoint-"))
        throw_error<DataError>(path.string(), " holds checkpoints of MVDiffusion's training (", name, ") but no pipeckpts, which is written "
                               "when a run ends. Name the pipeline that it was trained from with --mvdiffusion, and ",
                               (entry.path() / "unet_ema").string(), " with --unet.");
    }
  }
  return mvdiffusion::PipelineFiles(path);
}

fs::path find_prompts(const fs::path& given, const mvdiffusion::PipelineFiles& files) {
  if (!given.empty()) return given;
  std::error_code none;
  const fs::path beside = files.folder() / "prompt_embeds" / "clr_embeds.pt";
  return fs::exists(beside, none) ? beside : fs::path("mvdiffusion/data/fixed_prompt_embeds_6view/clr_embeds.pt");
}

}  // namespace mfl::infer
