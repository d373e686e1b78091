// Sample folders: opencv_cameras.json, the images that it names, and dataset.json beside the folders for what they share.
// Everything that the packed file holds fits in, so that packing and unpacking lose nothing (data/FORMAT.md).
#pragma once

#include <string>
#include <vector>

#include "data/sample_json.h"

namespace mfl::data {

inline constexpr const char* kCameraFile = "opencv_cameras.json";
inline constexpr const char* kSetFile = "dataset.json";

// A folder with opencv_cameras.json and the images that it names.
struct SampleFolder {
  std::string name;     // last component of the path; where that is not unique, the path after what all have in common
  std::string path;
};

// A list file (one folder a line, relative to the list's own folder, else to the working directory, or absolute), a sample
// folder, or a folder of sample folders (sorted by name). Throws DataError.
std::vector<SampleFolder> find_samples(const std::string& list_or_folder);
// Gives folders their names, as above. Throws DataError where a folder comes twice.
void name_samples(std::vector<SampleFolder>&);

// The camera file of a folder. Throws DataError.
SampleFile read_sample_file(const std::string& path, std::vector<RecordingInfo>& recordings, Check = Check::all);
SampleFile read_sample_file(const std::string& path, Check = Check::all);

// Cameras and images of one sample, 8 or 16 bits. Sizes in the JSON must be those of the images. Throws DataError.
Sample read_sample(const SampleFolder&, std::vector<RecordingInfo>& recordings);
Sample read_sample(const SampleFolder&);
// Writes opencv_cameras.json and images/NAME.png, 16 bits a channel where the view has low bytes; views that are only inputs
// go to inputs/NAME.png. `recordings` are those of the set. Throws DataError, also for names that would leave the folder.
void write_sample(const std::string& folder, const Sample&, const std::vector<RecordingInfo>& recordings = {});

// dataset.json.
SetInfo read_set_file(const std::string& folder);    // of the folder that holds the samples; empty where it has none
void write_set_file(const std::string& folder, const SetInfo&);

}  // namespace mfl::data
