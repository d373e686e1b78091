// What the stages of a run of mfl_infer need of a device, before they start and without one.
#pragma once

#include <optional>
#include <string>

#include "models/mvdiffusion/pipeline_files.h"
#include "models/mvdiffusion/sampling.h"
#include "models/mvdiffusion/view_pipeline.h"
#include "train/config.h"
#include "train/infer/reconstruct.h"

namespace mfl::infer {

struct StagePlan {
  std::string text;         // tables for people
  std::size_t bytes = 0;    // of the device
};
StagePlan plan_views(const mvdiffusion::PipelineFiles&, mvdiffusion::ViewPipelineOptions, const mvdiffusion::SamplerConfig&);
// `side`: of the largest picture that is rendered; `gaussians` of the device, and again what is left after filtering.
StagePlan plan_reconstruction(const GslrmConfig&, ReconstructorOptions, int side);

}  // namespace mfl::infer
