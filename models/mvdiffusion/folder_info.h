// What a folder of weights is, on one screen, and whether it is still what was written: a training checkpoint (checkpoint-N of
// this program or of accelerate), a pipeline (`pipeckpts`), or one component of either.
#pragma once

#include <filesystem>
#include <string>

namespace mfl::mvdiffusion {

// Lines for a terminal. Reads indices and configurations, no weights. Throws DataError for a folder of another kind.
std::string describe_folder(const std::filesystem::path&);

// Reads every file. A checkpoint of ours is compared with the sizes and CRCs in its mfl.json; elsewhere headers and, where the
// format has them, CRCs are checked. Returns what was compared, one line. Throws DataError for the first file that differs.
std::string verify_folder(const std::filesystem::path&);

}  // namespace mfl::mvdiffusion
