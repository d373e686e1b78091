// Zip archives, the container of torch.save: central directory with zip64, stored and deflated entries, CRC checked.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/io/atomic_file.h"
#include "runtime/io/byte_source.h"
#include "runtime/io/stored_tensor.h"

namespace mfl::io {

struct ZipEntry {
  std::string name;
  std::uint64_t first = 0;   // byte of the file where the entry's data begins
  std::uint64_t packed = 0;  // bytes in the file
  std::uint64_t size = 0;    // bytes when unpacked
  std::uint32_t crc = 0;
  bool deflated = false;
};

bool is_zip(std::span<const std::byte> head);

// Reads only the index. Every range is checked against the file, and entries may not overlap. Throws DataError.
class ZipReader {
 public:
  explicit ZipReader(Source);
  const std::vector<ZipEntry>& entries() const { return entries_; }
  const ZipEntry* find(std::string_view name) const;  // null: not there
  // Unpacked and CRC-checked.
  std::vector<std::byte> read(const ZipEntry&) const;
  // Lazily read; its CRC is checked when it is first read.
  std::shared_ptr<const Storage> storage(const ZipEntry&, StoredType, std::int64_t numel) const;
  // Reads every entry. Throws DataError for a CRC that does not match.
  void verify() const;

 private:
  Source source_;
  std::vector<ZipEntry> entries_;
};

// Stored entries, each data at a multiple of 64 bytes, as PyTorch lays them out; sizes of 4 GiB and more in zip64
// records.
class ZipWriter {
 public:
  static constexpr std::uint64_t kAlignment = 64;
  // `zip64_from`: entries and offsets of so many bytes get zip64 records. Lower values are for tests.
  explicit ZipWriter(AtomicFile&, std::uint64_t zip64_from = 0xffffffffu);

  using Take = std::function<void(std::span<const std::byte>)>;
  // `produce` hands exactly `size` bytes to its argument, piece by piece.
  void add(const std::string& name, std::uint64_t size, const std::function<void(const Take&)>& produce);
  void add(const std::string& name, std::span<const std::byte>);
  void finish();  // the central directory; once, last

 private:
  struct Written {
    std::string name;
    std::uint64_t header, size;
    std::uint32_t crc;
  };
  AtomicFile& file_;
  std::uint64_t zip64_from_;
  std::vector<Written> written_;
};

}  // namespace mfl::io
