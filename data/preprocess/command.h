// `mfl_data preprocess`.
#pragma once

#include <string>

#include "data/preprocess/preprocess.h"

namespace mfl::data::preprocess {

// Options as they are typed; those in words stand for the fields of `options` with the same names.
struct Arguments {
  Options options;
  std::string views, center = "centroids", split = "time", aim = "center", jumps, compat;
};

// Makes the samples and prints what they are. Throws ConfigError for words that mean nothing, and what preprocess throws.
void run(const Arguments&);

}  // namespace mfl::data::preprocess
