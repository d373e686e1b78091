#include "runtime/io/byte_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "runtime/error.h"

namespace mfl::io {
namespace {

class FileSource final : public ByteSource {
 public:
  FileSource(const std::string& path, int handle, std::uint64_t size) : ByteSource(path, size), handle_(handle) {}
  ~FileSource() override { ::close(handle_); }

 private:
  void read_inside(std::uint64_t first, std::span<std::byte> into) const override {
    while (!into.empty()) {
      const ssize_t got = ::pread(handle_, into.data(), into.size(), static_cast<off_t>(first));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw_error<DataError>(name(), ": reading at byte ", first, " failed: ", std::strerror(errno), ".");
      if (got == 0) throw_error<DataError>(name(), " became shorter than ", size(), " bytes while it was being read.");
      first += static_cast<std::uint64_t>(got);
      into = into.subspan(static_cast<std::size_t>(got));
    }
  }
  int handle_;
};

class MemorySource final : public ByteSource {
 public:
  MemorySource(std::vector<std::byte> bytes, std::string name)
      : ByteSource(std::move(name), bytes.size()), bytes_(std::move(bytes)) {}

 private:
  void read_inside(std::uint64_t first, std::span<std::byte> into) const override {
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(first), into.size(), into.begin());
  }
  std::vector<std::byte> bytes_;
};

}  // namespace

void ByteSource::check_range(std::uint64_t first, std::uint64_t count) const {
  if (count > size_ || first > size_ - count)
    throw_error<DataError>(name_, " has ", size_, " bytes, but bytes ", first, " to ", first, " + ", count,
                           " were asked for: the file is cut short or its index is wrong.");
}
void ByteSource::read(std::uint64_t first, std::span<std::byte> into) const {
  check_range(first, into.size());
  if (!into.empty()) read_inside(first, into);
}
std::vector<std::byte> ByteSource::read(std::uint64_t first, std::uint64_t count) const {
  check_range(first, count);
  std::vector<std::byte> bytes(static_cast<std::size_t>(count));
  if (count) read_inside(first, bytes);
  return bytes;
}

Source open_file(const std::filesystem::path& path) {
  const int handle = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (handle < 0) throw_error<DataError>(path.string(), " cannot be opened: ", std::strerror(errno), ".");
  struct stat about {};
  const bool known = ::fstat(handle, &about) == 0;
  if (!known || !S_ISREG(about.st_mode)) {
    const std::string why = known ? "it is not a regular file" : std::strerror(errno);
    ::close(handle);
    throw_error<DataError>(path.string(), " cannot be read: ", why, ".");
  }
  return std::make_shared<FileSource>(path.string(), handle, static_cast<std::uint64_t>(about.st_size));
}

Source memory_source(std::vector<std::byte> bytes, std::string name) {
  return std::make_shared<MemorySource>(std::move(bytes), std::move(name));
}

std::vector<std::byte> head(const ByteSource& source, std::size_t count) {
  return source.read(0, std::min<std::uint64_t>(count, source.size()));
}

}  // namespace mfl::io
