// What the second stage is given of one object, wherever it comes from.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "models/gslrm/gaussians.h"
#include "train/mvdiffusion/view_set.h"

namespace mfl::infer {

// Host memory. Views are of side S, the model's.
struct Scene {
  std::string name;
  Tensor image = {};                         // [V, S, S, 3] f32 in [0, 1], composited: the input views
  gslrm::Cameras cameras = {};               // theirs
  std::vector<std::string> view_names;       // [V]
  std::vector<std::string> view_sources;     // [V] JSON objects: which stage made the view, or where it was given
  std::vector<std::filesystem::path> view_files;   // [V] where a view lies below the object's folder already; empty: written anew
  // Truth, where there is any.
  Tensor truth = {};                         // [T, S, S, 3 or 4] f32 in [0, 1]; the fourth channel is alpha
  gslrm::Cameras truth_cameras = {};
  std::vector<std::string> truth_names;
  std::vector<std::uint8_t> truth_is_input;  // [T] 1: the model was given this view
  std::array<double, 3> background{1, 1, 1}; // what lies behind the animal in views and truth
  std::string origin = "{}";                 // JSON object for the provenance: data set, frame, framing, first stage
};

// A fixed list: scene i is the same at every call. Called from one thread, in ascending order.
struct SceneSet {
  std::int64_t size = 0;
  std::function<Scene(std::int64_t)> scene;
  std::function<std::string(std::int64_t)> name, source;   // source: changes when what the scene is made of changes; cheap
};

struct SceneOptions {
  int side = 512;                            // of the model's images
  int input_views = 6;
  std::array<double, 3> background{1, 1, 1};
  std::optional<data::CameraNormalisation> normalise = {};   // of cameras that are given
};

// A folder of six PNG files in slot order (by name: 0_front.png .., view_00.png ..), seen by the canonical rig; or a folder with
// opencv_cameras.json, or such a file, with cameras of its own: the first input_views are the input, all are truth. A folder
// that mfl_infer has left is understood too (its views/). Throws DataError: not six, no cameras, not square, not an image.
SceneSet given_views(const std::filesystem::path&, const SceneOptions&);

// What the first stage has left in the folders of these objects (views.json): with the canonical rig, ..
SceneSet generated_views(const ViewSet&, std::function<std::filesystem::path(std::int64_t)> folder, const SceneOptions&);
// .. or, of a packed set, with the set's cameras and its views as truth. `rule` as the views were made.
SceneSet generated_views(const ViewSet&, std::function<std::filesystem::path(std::int64_t)> folder, const SceneOptions&,
                         std::shared_ptr<const data::ViewReader>, const ViewSetOptions& rule);

// Samples of a packed set with their own views and cameras, read as the model's configuration reads its validation set.
SceneSet packed_scenes(std::shared_ptr<const data::Dataset>);

}  // namespace mfl::infer
