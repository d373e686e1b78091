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
#include "runtime/io/atomic_file.h"
#include "runtime/io/byte_source.h"
#include "runtime/io/io_remedy.h"

namespace mfl::io {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEnding = ".partial";

fs::path parent_of(const fs::path& p) { return p.has_parent_path() ? p.parent_path() : fs::path("."); }
fs::path partial_name(const fs::path& target) {
  return parent_of(target) / text('.', target.filename().string(), '.', ::getpid(), kEnding);
}

}  // namespace

AtomicFolder::AtomicFolder(fs::path target)
    : target_(target.has_filename() ? target : target.parent_path()), temporary_(partial_name(target_)) {   // "pipeckpts/" too
  if (!target_.has_filename()) throw_error<DataError>("\"", target_.string(), "\" is not a folder name to write to.");
  std::error_code bad;
  fs::remove_all(temporary_, bad);
  fs::create_directories(temporary_, bad);
  if (bad) throw_error<DataError>(target_.string(), " was not written: the folder ", temporary_.string(), " cannot be made: ", bad.message(), ".",
                                  io_remedy(bad.value()));
}

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(temporary_, ignored);
}

void AtomicFolder::sync() {
  for (const auto& entry : fs::recursive_directory_iterator(temporary_)) {
    if (entry.is_directory()) sync_folder(entry.path());
    else sync_file(entry.path());
  }
  sync_folder(temporary_);
}

void AtomicFolder::commit() {
  MFL_CHECK(!committed_, target_.string(), " was committed twice");
  sync();
  std::error_code bad;
  fs::path old;   // what was there before, under another name
  if (fs::exists(fs::symlink_status(target_, bad))) {
    if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) == 0) {
      old = temporary_, committed_ = true;
    } else {      // a file system without exchange
      old = partial_name(target_.string() + ".old");
      fs::remove_all(old, bad);
      if (::rename(target_.c_str(), old.c_str()) != 0) not_renamed(target_, errno);
    }
  }
  if (!committed_ && ::rename(temporary_.c_str(), target_.c_str()) != 0) {
    const int error = errno;
    if (!old.empty()) ::rename(old.c_str(), target_.c_str());
    not_renamed(temporary_, error);
  }
  committed_ = true;
  sync_folder(parent_of(target_));
  if (!old.empty()) fs::remove_all(old, bad);
}

void AtomicFolder::not_renamed(const fs::path& from, int error) const {
  throw_error<DataError>(target_.string(), " was not written: ", from.string(), " cannot be renamed: ", std::strerror(error),
                         ". An older folder of that name is unchanged.", io_remedy(error));
}

void remove_folder(const fs::path& folder) {
  const fs::path away = partial_name(folder.string() + ".old");
  std::error_code bad;
  fs::rename(folder, away, bad);
  if (!bad) fs::remove_all(away, bad);
  if (bad) throw_error<DataError>(folder.string(), " cannot be removed: ", bad.message(), ".", io_remedy(bad.value()));
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
