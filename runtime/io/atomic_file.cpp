#include "runtime/io/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "runtime/error.h"

namespace mfl::io {
namespace {
constexpr std::size_t kBuffer = std::size_t{1} << 20;
}

AtomicFile::AtomicFile(std::filesystem::path target) : target_(std::move(target)) {
  if (!target_.has_filename()) throw_error<DataError>("\"", target_.string(), "\" is not a file name to write to.");
  const std::filesystem::path folder = target_.has_parent_path() ? target_.parent_path() : ".";
  std::error_code bad;
  std::filesystem::create_directories(folder, bad);
  if (bad) throw_error<DataError>("The folder ", folder.string(), " cannot be made: ", bad.message(), ".");
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
                         ". An older file of that name is unchanged.");
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

void AtomicFile::commit() {
  MFL_CHECK(handle_ >= 0, target_.string(), " was committed twice");
  flush();
  if (::fsync(handle_) != 0) failed("cannot be synced");
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) failed("cannot be renamed");
  ::close(handle_);
  handle_ = -1;
  // The new name must survive a power cut too. A file system that cannot sync a folder has nothing to offer here.
  const int folder = ::open(temporary_.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) {
    ::fsync(folder);
    ::close(folder);
  }
}

void write_text_file(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace mfl::io
