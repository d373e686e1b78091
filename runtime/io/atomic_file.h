// A file that appears whole or not at all: bytes go to a temporary name beside the target; commit() flushes, syncs,
// renames over the target and syncs the folder. Without commit the temporary file is removed and the old file stays.
//
// Errors are DataErrors with the path, the system's reason and the free space.
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
  void commit();  // once, last

 private:
  [[noreturn]] void failed(const char* what) const;
  void write_through(std::uint64_t at, std::span<const std::byte>);

  std::filesystem::path target_, temporary_;
  std::vector<std::byte> buffer_;
  std::uint64_t position_ = 0, flushed_ = 0;
  int handle_ = -1;
};

// A small text file (JSON, a marker) in one call.
void write_text_file(const std::filesystem::path&, std::string_view text);

}  // namespace mfl::io
