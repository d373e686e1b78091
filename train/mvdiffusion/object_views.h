// The views of an object in a packed set: which of a sample's views they are, and which prompt each takes.
#pragma once

#include <vector>

#include "data/hdf5_file.h"

namespace mfl {

// Indices below are places in `views`.
struct ObjectViews {
  std::vector<int> views;         // of the sample: the first so many that may be targets
  std::vector<int> prompt_slots;  // of each; 0, 1, 2 .. where the set has no table
  std::vector<int> ring;          // in azimuth order; empty where the set has no ring
};
// Throws DataError: fewer than `count` views.
ObjectViews object_views(const data::ViewReader&, std::int64_t sample, int count);

}  // namespace mfl
