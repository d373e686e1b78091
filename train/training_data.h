// The packed file behind a configuration's data set, opened and checked before a run reads it; and how GS-LRM reads it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "data/dataset.h"
#include "runtime/comm/communicator.h"
#include "train/config.h"

namespace mfl {

struct TrainingData {
  std::string packed;                 // the file to read
  std::string own;                    // mfl.data.train or .val, which comes before
  std::string list;                   // the configuration's path: sample folders are packed if `packed` does not exist
  std::filesystem::path cache;        // where to
  int image_size = 0;
  bool normalised_later = false;      // cameras are normalised when a sample is read
  bool allow_unsound = false;         // mfl.allow_unsound_data
};
// Collective. Rank 0 packs where needed and runs the fast part of `mfl_data doctor`, unless the path is that of `checked`. Throws
// DataError where the set is unsound.
std::shared_ptr<const data::ViewReader> open_training_data(const TrainingData&, Communicator&, const data::ViewReader* checked = nullptr);

// How a GS-LRM configuration reads a set: for training, or without anything random but the choice of views.
data::DatasetOptions dataset_options(const GslrmConfig&, bool training);

}  // namespace mfl
