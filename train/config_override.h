// What the configurations of all stages share: their bytes, overrides from the command line, the packed file behind a path.
#pragma once

#include <string>
#include <vector>

namespace mfl {

// One `--set KEY=VALUE` or `-s KEY VALUE`. The value is a bool (true, false), an integer, a float or a string, by its
// looks, or a flow sequence such as [a, b].
struct ConfigOverride {
  std::string key, value;
};
// "a.b.c=value". Throws ConfigError without "=".
ConfigOverride parse_override(const std::string&);

// The bytes of a configuration file. Throws ConfigError.
std::string config_text(const std::string& path);

// The packed file that stands for a dataset_path: itself (FILE.h5 or FILE.h5#split), or the list file's path with the
// extension .h5 (what `mfl_data pack LIST` writes by default).
std::string packed_path(const std::string& dataset_path);

}  // namespace mfl
