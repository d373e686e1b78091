// What a person names with --gslrm and --config, and what is said when it is something else.
#pragma once

#include <filesystem>
#include <string>

#include "train/config.h"

namespace mfl::infer {

// A GS-LRM checkpoint holds tensors; the model that they belong to stands in a configuration. It is taken from, in this order,
//   --config FILE
//   the checkpoint itself (mfl_train writes its merged configuration into every ckpt_*.pt)
//   config.yaml beside it, as mfl_train leaves it
struct GslrmFiles {
  std::filesystem::path checkpoint;   // the file; empty: none was named (a memory plan needs none)
  GslrmConfig config;
  std::string config_source;          // where it was found, for people
};

// `path`: a checkpoint file, or a folder of ckpt_*.pt, of which the newest is taken. Throws DataError: nothing there, a
// pipeline or a UNet of MVDiffusion, weights of something else, no configuration to be found; ConfigError of the configuration.
GslrmFiles open_gslrm(const std::filesystem::path& path, const std::filesystem::path& config);

}  // namespace mfl::infer
