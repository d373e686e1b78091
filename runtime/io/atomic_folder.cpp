#include "runtime/io/atomic_folder.h"

#include <fcntl.h>
#include <libdeflate.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "runtime/error.h"
#include "runtime/io/byte_source.h"

namespace mfl::io {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEnding = ".partial";

fs::path parent_of(const fs::path& p) { return p.has_parent_path() ? p.parent_path() : fs::path("."); }
fs::path partial_name(const fs::path& target) {
  return parent_of(target) / text('.', target.filename().string(), '.', ::getpid(), kEnding);
}

// A file system that cannot sync a folder has nothing to offer; a file that cannot be synced is an error.
void sync(const fs::path& path, bool folder) {
  const int handle = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | (folder ? O_DIRECTORY : 0));
  const bool bad = handle < 0 || ::fsync(handle) != 0;
  const int error = errno;
  if (handle >= 0) ::close(handle);
  if (bad && !folder) throw_error<DataError>(path.string(), " cannot be synced to disk: ", std::strerror(error), ".");
}

}  // namespace

AtomicFolder::AtomicFolder(fs::path target)
    : target_(target.has_filename() ? target : target.parent_path()), temporary_(partial_name(target_)) {   // "pipeckpts/" too
  if (!target_.has_filename()) throw_error<DataError>("\"", target_.string(), "\" is not a folder name to write to.");
  std::error_code bad;
  fs::remove_all(temporary_, bad);
  fs::create_directories(temporary_, bad);
  if (bad) throw_error<DataError>(target_.string(), " was not written: the folder ", temporary_.string(), " cannot be made: ", bad.message(), ".");
}

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(temporary_, ignored);
}

void AtomicFolder::commit() {
  MFL_CHECK(!committed_, target_.string(), " was committed twice");
  std::error_code bad;
  for (const auto& entry : fs::recursive_directory_iterator(temporary_)) sync(entry.path(), entry.is_directory());
  sync(temporary_, true);
  bool exchanged = false;
  if (fs::exists(fs::symlink_status(target_, bad))) {
    exchanged = ::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) == 0;
    if (!exchanged) remove_folder(target_);   // a file system without exchange
  }
  if (!exchanged && ::rename(temporary_.c_str(), target_.c_str()) != 0)
    throw_error<DataError>(target_.string(), " was not written: ", temporary_.string(), " cannot be renamed: ", std::strerror(errno), ".");
  committed_ = true;
  sync(parent_of(target_), true);
  if (exchanged) fs::remove_all(temporary_, bad);
}

void remove_folder(const fs::path& folder) {
  const fs::path away = partial_name(folder.string() + ".old");
  std::error_code bad;
  fs::rename(folder, away, bad);
  if (!bad) fs::remove_all(away, bad);
  if (bad) throw_error<DataError>(folder.string(), " cannot be removed: ", bad.message(), ".");
}

int remove_partial_folders(const fs::path& parent, std::string_view prefix) {
  int removed = 0;
  std::error_code bad;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(parent, bad)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(text('.', prefix)) && name.ends_with(kEnding) && entry.is_directory(bad)) found.push_back(entry.path());
  }
  for (const fs::path& p : found) {
    fs::remove_all(p, bad);
    removed += !bad;
  }
  return removed;
}

std::uint64_t folder_bytes(const fs::path& folder) {
  std::uint64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) bytes += entry.file_size();
  return bytes;
}

void drop_cached_pages(const fs::path& path) {
  auto drop = [](const fs::path& file) {
    const int handle = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (handle < 0) return;
    ::posix_fadvise(handle, 0, 0, POSIX_FADV_DONTNEED);
    ::close(handle);
  };
  if (!fs::is_directory(path)) return drop(path);
  for (const auto& entry : fs::recursive_directory_iterator(path))
    if (entry.is_regular_file()) drop(entry.path());
}

std::uint32_t file_crc32(const fs::path& path) {
  const Source source = open_file(path);
  std::vector<std::byte> piece(std::min<std::uint64_t>(source->size(), std::uint64_t{4} << 20));
  std::uint32_t crc = 0;
  for (std::uint64_t at = 0; at < source->size(); at += piece.size()) {
    const auto part = std::span(piece).first(std::min<std::uint64_t>(piece.size(), source->size() - at));
    source->read(at, part);
    crc = libdeflate_crc32(crc, part.data(), part.size());
  }
  return crc;
}

}  // namespace mfl::io
