// The JSON of sample folders as text: opencv_cameras.json and dataset.json (data/FORMAT.md, "The same as folders").
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data/sample.h"

namespace mfl::data {

// What a sample's file says; views without pixels.
struct SampleFile {
  Sample sample;
  std::vector<std::string> images;   // of each view, relative to the folder
};

// `all`: every camera passes check_camera and every frame names its image. `form`: a doctor must be able to look at a wrong
// camera, and a bare rig has no images.
enum class Check { all, form };

// Reads frames[].{fx, fy, cx, cy, w2c}, optionally w, h, file_path and what FORMAT.md adds; other keys mean nothing.
// `recordings` grows by a recording that is not in it yet. Throws DataError naming `source`, the frame and the key.
SampleFile parse_sample_file(std::string_view json, const std::string& source, std::vector<RecordingInfo>& recordings,
                             Check = Check::all);
std::string sample_json(const Sample&, const std::vector<std::string>& images, const std::vector<RecordingInfo>& recordings);

// dataset.json: ring order, prompt slots, recordings, recipe.
SetInfo parse_set_file(std::string_view json, const std::string& source);
std::string set_json(const SetInfo&);

}  // namespace mfl::data
