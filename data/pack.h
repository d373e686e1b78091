// Sample folders and list files to the packed file, and back.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "data/hdf5_file.h"

namespace mfl::data {

// A folder with opencv_cameras.json and the images that it names.
struct SampleFolder {
  std::string name;     // last component of the path, or the whole entry where that is not unique
  std::string path;
};

// A list file (one folder a line, relative to the list's own folder, else to the working directory, or absolute; blank
// lines ignored), a sample folder, or a folder of sample folders (sorted by name). Throws DataError.
std::vector<SampleFolder> find_samples(const std::string& list_or_folder);

// Reads cameras and images of one sample. Sizes in the JSON must be those of the images. Throws DataError.
Sample read_sample(const SampleFolder&);
// Writes images/<view>.png and opencv_cameras.json.
void write_sample(const std::string& folder, const Sample&);

struct PackOptions {
  int image_size = 0;        // resize to this square (Pillow's Lanczos); 0: keep, all images must then have one size
  bool skip_broken = false;  // leave broken samples out, with a warning each, instead of stopping
  bool overwrite = false;
  Split split = Split::unassigned;
  std::function<void(std::int64_t done, std::int64_t total)> progress;
};
struct PackResult {
  std::int64_t packed = 0;
  std::vector<std::string> left_out;   // names
};
PackResult pack(const std::vector<SampleFolder>&, const std::string& output, const PackOptions&);
// Every sample as a folder, and `list` with their names.
void unpack(const std::string& file, const std::string& folder, const std::string& list_name = "data_train.txt");

// What a trainer calls with a configuration's dataset_path: an HDF5 file (with or without #split) is returned as it is; a
// .txt list is packed once into `cache_dir` at `image_size` and the packed file's path is returned. The cache name holds a
// hash of the list, the cameras and the images' sizes and times, so that changed data is packed anew. Safe when several
// processes of one host call it at once. Says what it does.
std::string ensure_packed(const std::string& dataset_path, const std::string& cache_dir, int image_size);

}  // namespace mfl::data
