// A folder that appears whole or not at all: files go into a temporary folder beside the target; commit() syncs them and renames.
// Without commit the temporary folder is removed and the old one stays. A process that is killed leaves the temporary folder:
// remove_partial_folders clears such away.
//
// Errors are DataErrors with the path, the system's reason and what to do.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

namespace mfl::io {

class AtomicFolder {
 public:
  // Creates missing folders of the path, and `.NAME.PID.partial` beside the target, empty.
  explicit AtomicFolder(std::filesystem::path target);
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  const std::filesystem::path& temporary() const { return temporary_; }
  void sync();     // every file is on disk afterwards, so that it can be read back from there before commit
  // Syncs and renames over the target, which may exist: it is exchanged in one step and then removed. Once, last.
  void commit();

 private:
  [[noreturn]] void not_renamed(const std::filesystem::path& from, int error) const;

  std::filesystem::path target_, temporary_;
  bool committed_ = false;
};

// Under another name first, so that what is half removed when the process dies is no folder of that name.
void remove_folder(const std::filesystem::path&);
// Temporary folders for targets in `parent` whose names begin with `prefix`, whoever made them; returns how many. None may be in
// use. What cannot be removed stays.
int remove_partial_folders(const std::filesystem::path& parent, std::string_view prefix);

// Bytes of all files below a folder.
std::uint64_t folder_bytes(const std::filesystem::path&);
// Asks the system to forget what it holds of a file, or of every file below a folder, that is synced: the next read is the disk's,
// where the file system has any part in this.
void drop_cached_pages(const std::filesystem::path&);
// CRC-32 (as zip and gzip have it) of a file.
std::uint32_t file_crc32(const std::filesystem::path&);

}  // namespace mfl::io
