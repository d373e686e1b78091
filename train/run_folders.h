// The folders that a run writes to belong to it alone while it runs: a second run into one of them is refused with who has it.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "runtime/io/sole_writer.h"

namespace mfl {

using HeldFolders = std::vector<std::unique_ptr<io::SoleWriter>>;
// For the leader, which stands for all ranks. Folders that come twice are held once. Throws as SoleWriter.
HeldFolders hold_folders(std::vector<std::filesystem::path>);

}  // namespace mfl
