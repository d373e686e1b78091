#include "runtime/io/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <vector>

#include "runtime/error.h"
#include "runtime/io/io_remedy.h"

namespace mfl::io {
namespace {
constexpr std::size_t kBuffer = std::size_t{1} << 20;
}

AtomicFile::AtomicFile(std::filesystem::path target) : target_(std::move(target)) {
  if (!target_.has_filename()) throw_error<DataError>("\"", target_.string(), "\" is not a file name to write to.");
  const std::filesystem::path folder = target_.has_parent_path() ? target_.parent_path() : ".";
  std::error_code bad;
  std::filesystem::create_directories(folder, bad);
  if (bad) throw_error<DataError>("The folder ", folder.string(), " cannot be made: ", bad.message(), ".", io_remedy(bad.value()));
  // Beside the target, since rename does not cross file systems. The process id keeps two writers apart.
  temporary_ = folder / text('.', target_.filename().string(), '.', ::getpid(), ".partial");
  handle_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (handle_ < 0) failed("cannot be created");
  buffer_.reserve(kBuffer);
}

AtomicFile::~AtomicFile() {
  if (handle_ < 0) return;
  ::close(handle_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::failed(const char* what) const {
  const int error = errno;
  std::error_code ignored;
  const auto space = std::filesystem::space(temporary_.parent_path(), ignored);
  const std::string room = ignored ? std::string("unknown") : text(space.available >> 20, " MiB");
  throw_error<DataError>(target_.string(), " was not written: ", temporary_.string(), ' ', what, " after ", position_,
                         " bytes: ", std::strerror(error), "; free space there: ", room,
                         ". An older file of that name is unchanged.", io_remedy(error));
}

void AtomicFile::write_through(std::uint64_t at, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t done = ::pwrite(handle_, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) failed("cannot be written");
    at += static_cast<std::uint64_t>(done);
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  if (buffer_.size() + bytes.size() > kBuffer) flush();
  if (bytes.size() >= kBuffer) {
    write_through(flushed_, bytes);
    flushed_ += bytes.size();
  } else {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  }
  position_ += bytes.size();
}

void AtomicFile::patch(std::uint64_t at, std::span<const std::byte> bytes) {
  MFL_CHECK(bytes.size() <= position_ && at <= position_ - bytes.size(), "patch of bytes ", at, " + ", bytes.size(),
            " of a file of ", position_);
  flush();
  write_through(at, bytes);
}

void AtomicFile::flush() {
  write_through(flushed_, buffer_);
  flushed_ += buffer_.size();
  buffer_.clear();
}

void AtomicFile::sync() {
  flush();
  if (::fsync(handle_) != 0) failed("cannot be synced");
}

void AtomicFile::commit() {
  MFL_CHECK(handle_ >= 0, target_.string(), " was committed twice");
  sync();
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) failed("cannot be renamed");
  ::close(handle_);
  handle_ = -1;
  sync_folder(temporary_.parent_path());
}

void sync_file(const std::filesystem::path& path) {
  const int handle = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool bad = handle < 0 || ::fsync(handle) != 0;
  const int error = errno;
  if (handle >= 0) ::close(handle);
  if (bad) throw_error<DataError>(path.string(), " cannot be synced to disk: ", std::strerror(error), ".", io_remedy(error));
}

void sync_folder(const std::filesystem::path& path) {
  const int folder = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  const bool failed = ::fsync(folder) != 0;
  const int error = errno;
  ::close(folder);
  if (failed && (error == EIO || error == ENOSPC || error == EDQUOT || error == ESTALE))
    throw_error<DataError>(path.string(), " cannot be synced to disk: ", std::strerror(error),
                           ". What was written last there is whole now, but a power cut may take its name.", io_remedy(error));
}

void write_text_file(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

int remove_partial_files(const std::filesystem::path& folder, std::string_view prefix) {
  int removed = 0;
  std::error_code bad;
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder, bad)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(text('.', prefix)) && name.ends_with(".partial") && entry.is_regular_file(bad)) found.push_back(entry.path());
  }
  for (const auto& p : found) removed += std::filesystem::remove(p, bad);
  return removed;
}

}  // namespace mfl::io
