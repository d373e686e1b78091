// Sample folders and list files to the packed file, and back.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "data/hdf5_file.h"
#include "data/sample_folder.h"

namespace mfl::data {

struct PackOptions {
  int image_size = 0;        // resize to this square (Pillow's 8-bit Lanczos); 0: keep, all images must then have one size
  bool skip_broken = false;  // leave broken samples out, with a warning each, instead of stopping
  bool overwrite = false;
  Split split = Split::unassigned;   // of all samples; unassigned: what their files say
  std::string inputs;        // list or folder with one sample of the same name for each: its views become inputs, and the
                             // sample's own become targets. Cameras of both are in the same world
  std::function<void(std::int64_t done, std::int64_t total)> progress;
};
struct PackResult {
  std::int64_t packed = 0;
  std::vector<std::string> left_out;   // names
};
PackResult pack(const std::vector<SampleFolder>&, const std::string& output, const PackOptions&);
// Every sample as a folder, dataset.json, and lists: data_all.txt in the file's order, and data_train.txt (unassigned ones
// too), data_val.txt, data_test.txt. What was packed without resizing comes back to the last bit.
void unpack(const std::string& file, const std::string& folder);

// For a packed file that is taken in place of the list beside it (X.h5 for X.txt): throws DataError where it holds other
// samples than the list names now, warns where a sample's cameras were written after it. A list of packed files, and one that
// is not there, say nothing. Looks at names and times only.
void check_packed_from(const std::string& packed, const std::string& list);

// What a trainer calls with a configuration's dataset_path. A packed file, and a list of packed files, come back as they
// are; sample folders are packed once into `cache_dir` at `image_size`; a list of both becomes a list in `cache_dir`. A
// #split is kept. The cache name holds a hash of the list, the cameras and the images' sizes and times, so that changed data
// is packed anew. Safe when several processes of one host call it at once. Says what it does.
std::string ensure_packed(const std::string& dataset_path, const std::string& cache_dir, int image_size);

}  // namespace mfl::data
