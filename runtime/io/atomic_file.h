// A file that appears whole or not at all: bytes go to a temporary name beside the target; commit() flushes, syncs,
// renames over the target and syncs the folder. Without commit the temporary file is removed and the old file stays.
//
// Errors are DataErrors with the path, the system's reason, the free space and what to do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mfl::io {

class AtomicFile {
 public:
  // Creates missing folders of the path.
  explicit AtomicFile(std::filesystem::path target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte>);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  std::uint64_t position() const { return position_; }       // bytes written so far
  void patch(std::uint64_t at, std::span<const std::byte>);  // overwrites bytes that were written before

  const std::filesystem::path& temporary() const { return temporary_; }
  void flush();   // every byte is in temporary() afterwards, so that it can be read back before commit
  void sync();    // and on disk
  void commit();  // syncs and renames; once, last

 private:
  [[noreturn]] void failed(const char* what) const;
  void write_through(std::uint64_t at, std::span<const std::byte>);

  std::filesystem::path target_, temporary_;
  std::vector<std::byte> buffer_;
  std::uint64_t position_ = 0, flushed_ = 0;
  int handle_ = -1;
};

// The bytes of a file survive a power cut afterwards. Throws DataError.
void sync_file(const std::filesystem::path&);
// The names of a folder survive a power cut afterwards, where its file system offers that. Throws DataError where the disk fails.
void sync_folder(const std::filesystem::path&);

// A small text file (JSON, a marker) in one call.
void write_text_file(const std::filesystem::path&, std::string_view text);

// Temporary files for targets in `folder` whose names begin with `prefix`, which killed processes left, whoever they were; returns
// how many went. None may be in use. What cannot be removed stays.
int remove_partial_files(const std::filesystem::path& folder, std::string_view prefix);

}  // namespace mfl::io
