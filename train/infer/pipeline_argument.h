// What a person names with --mvdiffusion, and what is said when it is something else.
#pragma once

#include <filesystem>

#include "models/mvdiffusion/pipeline_files.h"

namespace mfl::infer {

// The pipeline folder: the path itself, or pipeckpts/ in it. Throws DataError: nothing there; a file, such as a GS-LRM
// checkpoint; a folder of GS-LRM checkpoints; a checkpoint-N, which is a UNet without its pipeline.
mvdiffusion::PipelineFiles open_pipeline(const std::filesystem::path&);

// The prompt embeddings: the given file, or prompt_embeds/clr_embeds.pt of the pipeline, or FaceLift's own from the working
// directory. A file that does not exist is refused where it is read.
std::filesystem::path find_prompts(const std::filesystem::path& given, const mvdiffusion::PipelineFiles&);

}  // namespace mfl::infer
