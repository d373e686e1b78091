#include "train/run_folders.h"

#include <algorithm>

#include "runtime/io/atomic_file.h"

namespace mfl {

HeldFolders hold_folders(std::vector<std::filesystem::path> folders) {
  for (auto& f : folders) {
    std::error_code none;
    const auto whole = std::filesystem::weakly_canonical(f, none);
    if (!none) f = whole;
    if (!f.has_filename()) f = f.parent_path();   // "run/"
  }
  std::sort(folders.begin(), folders.end());      // two runs into the same folders meet at the same one first
  folders.erase(std::unique(folders.begin(), folders.end()), folders.end());
  HeldFolders held;
  for (const auto& f : folders) {
    held.push_back(io::SoleWriter::of_folder(f, "mfl_train"));
    io::remove_partial_files(f, "config.yaml");   // of a killed run; its checkpoints are the writer's
  }
  return held;
}

}  // namespace mfl
