// Files that tests read: the project's own, and the folders beside a checkout that a machine may lack.
#pragma once

#include <cstdlib>
#include <filesystem>

namespace mfl::test {

// tests/golden/<leaf> of the source tree.
inline std::filesystem::path own_golden(const char* leaf) {
  return std::filesystem::path(MFL_SOURCE_DIR) / "tests/golden" / leaf;
}
// The folder of the published models' golden cases, and the one of real input. May not exist.
inline std::filesystem::path beside(const char* variable, const char* leaf) {
  const char* given = std::getenv(variable);
  return given ? std::filesystem::path(given) : std::filesystem::path(MFL_SOURCE_DIR) / "../shared" / leaf;
}
inline std::filesystem::path golden_folder() { return beside("MFL_GOLDEN", "golden"); }
inline std::filesystem::path shared_data_folder() { return beside("MFL_SHARED_DATA", "data"); }

}  // namespace mfl::test
