// The first stage over a set of objects: views of each in its folder, by any number of ranks, resumable.
//
//   <folder>/<name>/views/<slot>_<slot's name>.png   in slot order
//                   grid.png                         input, truth where there is one, generated
//                   views.json                       settings, files, metrics; written last: an object with it is finished
//   <folder>/views_metrics.json                      means and every object's metrics, where truth exists
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "models/mvdiffusion/view_pipeline.h"
#include "models/perceptual/lpips.h"
#include "runtime/comm/communicator.h"
#include "train/infer/left_out.h"
#include "train/infer/timings.h"
#include "train/mvdiffusion/validation.h"

namespace mfl::infer {

struct GenerateOptions {
  mvdiffusion::SamplerConfig sampler;
  std::uint64_t seed = 42;
  std::filesystem::path folder;
  std::string settings;             // JSON object: what else all views follow from (pipeline, prompts, ..)
  std::function<std::string(std::int64_t)> source = {};   // of an object: a hash of its pixels; an object is made anew where it changed
  bool in_place = false;            // a set of one object: its files lie in `folder` itself
  Timings* timings = nullptr;
};

struct Generated {
  std::int64_t made = 0, finished_before = 0;   // of all ranks
  LeftOut left_out;
  Metrics means;                                // over all objects that there are; empty without truth
};

// Collective. Rank r takes every world-th object. A finished object of the same settings is left as it is; anything else is
// made anew. The views of an object do not depend on ranks, batches or order. One whose picture cannot be had is left out
// (left_out.h); the error of a set of one is thrown.
Generated generate_views(mvdiffusion::ViewPipeline&, const ViewSet&, Communicator&, const GenerateOptions&,
                         const perceptual::LpipsLoss* lpips = nullptr);

// "0_front.png"
std::string view_file(std::int64_t slot, int prompt);

}  // namespace mfl::infer
