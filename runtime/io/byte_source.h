// Bytes with a length and a name: a file (read with pread, so that a failing disk is an error, not a signal) or memory.
// Readers of foreign formats stand on this, so that tests and fuzzers need no file. Safe to read from several threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace mfl::io {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  std::uint64_t size() const { return size_; }
  const std::string& name() const { return name_; }  // a path, for messages

  // Bytes [first, first + into.size()). Throws DataError beyond the end and when the system cannot read.
  void read(std::uint64_t first, std::span<std::byte> into) const;
  // The same into fresh memory. The range is checked before anything is allocated.
  std::vector<std::byte> read(std::uint64_t first, std::uint64_t count) const;

 protected:
  ByteSource(std::string name, std::uint64_t size) : name_(std::move(name)), size_(size) {}
  virtual void read_inside(std::uint64_t first, std::span<std::byte> into) const = 0;

 private:
  void check_range(std::uint64_t first, std::uint64_t count) const;
  std::string name_;
  std::uint64_t size_;
};
using Source = std::shared_ptr<const ByteSource>;

// Throws DataError: no such file, a folder, no permission; with the system's reason.
Source open_file(const std::filesystem::path&);
Source memory_source(std::vector<std::byte>, std::string name);
// The first bytes of a source, fewer if it is shorter.
std::vector<std::byte> head(const ByteSource&, std::size_t count);

}  // namespace mfl::io
