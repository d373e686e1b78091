// The second stage over a set of scenes: Gaussians and pictures of each in its folder, by any number of ranks, resumable.
//
//   <folder>/<name>/views/           the model's input views (those of the first stage stay as they are)
//                   gaussians.ply    what filters, crop and pruning leave; gaussians.splat, gaussians.spz where asked for
//                   gaussians.json   what each of these steps has left, and of what opacity and size
//                   turntable.png, turntable.mp4
//                   viewer.html      the same Gaussians in a browser, with the input cameras
//                   metrics.json     against the truth, where there is any
//                   provenance.json  what all of it was made of and by; written last: an object with it is finished
//   <folder>/metrics.json            means and every object's metrics, where there is truth
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "models/gslrm/filters.h"
#include "models/gslrm/ply.h"
#include "models/perceptual/lpips.h"
#include "runtime/comm/communicator.h"
#include "train/infer/file_hashes.h"
#include "train/infer/left_out.h"
#include "train/infer/reconstruct.h"
#include "train/infer/scene.h"
#include "train/infer/timings.h"
#include "train/run_log.h"
#include "train/turntable.h"

namespace mfl::infer {

// Whose cameras the strip shows and the film passes: a circle, the model's input views, or all views with truth.
enum class TurntableKind : std::uint8_t { orbit, reference, dataset };

struct SceneOutputs {
  std::filesystem::path folder;
  bool in_place = false;                  // a set of one object: its files lie in `folder` itself
  gslrm::Filters filters = gslrm::Filters::inference();
  bool crop_animal = false;               // models/gslrm/silhouette.h, by the input views
  bool prune_visibility = false;          // models/gslrm/visibility.h, over the input views, those with truth, and the orbit
  gslrm::PlyLayout ply = gslrm::PlyLayout::published;
  bool splat = false, spz = false;
  TurntableKind turntable = TurntableKind::orbit;
  Turntable strip = {}, film = {.views = 120};   // of other turntables: sizes, and the film's number of views
  int film_rate = 30;                     // frames a second
  bool video = true, viewer = true;
  double mask_threshold = 0.1;            // of the IoU
  std::string settings = "{}";            // JSON object: all else that a result follows from
  struct Checkpoint {
    std::string part;                     // "gslrm", "mvdiffusion unet", ..
    std::filesystem::path file;
  };
  std::vector<Checkpoint> checkpoints = {};   // for the provenance, with their SHA-256
  LeftOut left_out = {};                  // by the first stage: nothing to make Gaussians of
  Timings* timings = nullptr;
};

struct Reconstructed {
  std::int64_t made = 0, finished_before = 0;   // of all ranks
  LeftOut left_out;                             // SceneOutputs' among them
  Metrics means;                                // over all objects that there are; empty without truth
};

// Where the files of scene i lie.
std::filesystem::path folder_of(const SceneOutputs&, const SceneSet&, std::int64_t i);

// Collective. Rank r takes every world-th scene. A finished one of the same settings and source is left as it is; one whose views
// cannot be had is left out (left_out.h).
Reconstructed reconstruct_scenes(Reconstructor&, const SceneSet&, Communicator&, const SceneOutputs&, FileHashes&,
                                 const perceptual::LpipsLoss* lpips = nullptr);

}  // namespace mfl::infer
