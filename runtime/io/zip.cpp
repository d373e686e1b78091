#include "runtime/io/zip.h"

#include <libdeflate.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "runtime/error.h"

namespace mfl::io {
namespace {

// Record signatures and fixed sizes: PKWARE APPNOTE 4.3.
constexpr std::uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50, kEnd64 = 0x06064b50,
                        kLocator64 = 0x07064b50;
constexpr std::size_t kLocalSize = 30, kCentralSize = 46, kEndSize = 22, kEnd64Size = 56, kLocatorSize = 20;
constexpr std::uint16_t kZip64Extra = 1, kPaddingExtra = 0x4246;  // "FB", as PyTorch pads
constexpr std::uint64_t kMaxDirectory = std::uint64_t{1} << 28;
// No deflate stream unpacks to more than 1032 times its size.
constexpr std::uint64_t kMaxRatio = 1032;

template <class T>
T at(std::span<const std::byte> b, std::size_t offset) {
  T v;
  std::memcpy(&v, b.data() + offset, sizeof(T));
  return v;
}
template <class T>
void put(std::string& b, T v) {
  b.append(reinterpret_cast<const char*>(&v), sizeof v);
}
std::uint32_t crc_of(std::uint32_t crc, std::span<const std::byte> b) {
  return libdeflate_crc32(crc, b.data(), b.size());
}

[[noreturn]] void wrong_crc(const std::string& file, const ZipEntry& e, std::uint32_t found) {
  throw_error<DataError>(file, ": entry \"", e.name, "\" is damaged: its CRC-32 is ", found, ", recorded is ", e.crc,
                         ". Copy or download the file again.");
}

std::vector<std::byte> unpacked(const ByteSource& source, const ZipEntry& e) {
  std::vector<std::byte> bytes = source.read(e.first, e.packed);
  if (e.deflated) {
    std::vector<std::byte> out(static_cast<std::size_t>(e.size));
    const std::unique_ptr<libdeflate_decompressor, void (*)(libdeflate_decompressor*)> inflate(
        libdeflate_alloc_decompressor(), libdeflate_free_decompressor);
    if (libdeflate_deflate_decompress(inflate.get(), bytes.data(), bytes.size(), out.data(), out.size(), nullptr) !=
        LIBDEFLATE_SUCCESS)
      throw_error<DataError>(source.name(), ": entry \"", e.name, "\" is damaged: its ", e.packed,
                             " bytes do not inflate to ", e.size, ".");
    bytes = std::move(out);
  }
  if (const std::uint32_t crc = crc_of(0, bytes); crc != e.crc) wrong_crc(source.name(), e, crc);
  return bytes;
}

void verify_stored(const ByteSource& source, const ZipEntry& e) {
  std::vector<std::byte> piece(std::min<std::size_t>(e.size, std::size_t{4} << 20));
  std::uint32_t crc = 0;
  for (std::uint64_t done = 0; done < e.size; done += piece.size()) {
    const auto part = std::span(piece).first(std::min<std::size_t>(piece.size(), e.size - done));
    source.read(e.first + done, part);
    crc = crc_of(crc, part);
  }
  if (crc != e.crc) wrong_crc(source.name(), e, crc);
}

class EntryStorage final : public Storage {
 public:
  EntryStorage(Source source, ZipEntry entry, StoredType type, std::int64_t numel)
      : Storage(type, numel), source_(std::move(source)), entry_(std::move(entry)) {}

  void read(std::uint64_t first, std::span<std::byte> into) const override {
    const std::scoped_lock lock(mutex_);
    if (entry_.deflated) {
      if (unpacked_.empty()) unpacked_ = unpacked(*source_, entry_);
      std::copy_n(unpacked_.begin() + static_cast<std::ptrdiff_t>(first), into.size(), into.begin());
      return;
    }
    const bool whole = first == 0 && into.size() == entry_.size;
    if (!verified_ && !whole) verify_stored(*source_, entry_);
    source_->read(entry_.first + first, into);
    if (!verified_ && whole)
      if (const std::uint32_t crc = crc_of(0, into); crc != entry_.crc) wrong_crc(source_->name(), entry_, crc);
    verified_ = true;
  }

 private:
  Source source_;
  ZipEntry entry_;
  mutable std::mutex mutex_;
  mutable bool verified_ = false;
  mutable std::vector<std::byte> unpacked_;
};

}  // namespace

bool is_zip(std::span<const std::byte> head) {
  return head.size() >= 4 && (at<std::uint32_t>(head, 0) == kLocal || at<std::uint32_t>(head, 0) == kEnd);
}

ZipReader::ZipReader(Source source) : source_(std::move(source)) {
  const std::string& file = source_->name();
  const std::uint64_t size = source_->size();
  auto wrong = [&](const auto&... why) {
    throw_error<DataError>(file, " is a damaged or truncated zip archive: ", why..., ".");
  };

  // The end record: within the last 64 KiB, behind it only a comment.
  const std::uint64_t tail_size = std::min<std::uint64_t>(size, kEndSize + 0xffff);
  const std::vector<std::byte> tail = source_->read(size - tail_size, tail_size);
  std::size_t end = tail.size();
  for (std::size_t i = tail.size() < kEndSize ? 0 : tail.size() - kEndSize + 1; i-- > 0;)
    if (at<std::uint32_t>(tail, i) == kEnd && at<std::uint16_t>(tail, i + 20) == tail.size() - i - kEndSize) {
      end = i;
      break;
    }
  if (end == tail.size()) wrong("it has no end-of-central-directory record");
  const std::span record = std::span(tail).subspan(end);
  std::uint64_t count = at<std::uint16_t>(record, 10), length = at<std::uint32_t>(record, 12),
                first = at<std::uint32_t>(record, 16), directory_end = size - tail_size + end;
  if (at<std::uint16_t>(record, 4) != 0 || at<std::uint16_t>(record, 8) != at<std::uint16_t>(record, 10))
    wrong("it is split over several disks");
  if ((count == 0xffff || length == 0xffffffff || first == 0xffffffff) && directory_end >= kLocatorSize) {
    const std::vector<std::byte> locator = source_->read(directory_end - kLocatorSize, kLocatorSize);
    if (at<std::uint32_t>(locator, 0) == kLocator64) {
      const std::vector<std::byte> wide = source_->read(at<std::uint64_t>(locator, 8), kEnd64Size);
      if (at<std::uint32_t>(wide, 0) != kEnd64) wrong("its zip64 end record is not where the locator says");
      count = at<std::uint64_t>(wide, 32), length = at<std::uint64_t>(wide, 40), first = at<std::uint64_t>(wide, 48);
      directory_end = at<std::uint64_t>(locator, 8);
    }
  }
  if (first > directory_end || length > directory_end - first || length > kMaxDirectory)
    wrong("its directory of ", length, " bytes at ", first, " lies outside the file");
  if (count > length / kCentralSize) wrong(count, " entries do not fit in a directory of ", length, " bytes");

  const std::vector<std::byte> directory = source_->read(first, length);
  std::size_t next = 0;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::span rest = std::span(directory).subspan(next);
    if (rest.size() < kCentralSize || at<std::uint32_t>(rest, 0) != kCentral)
      wrong("entry ", i, " of its directory is broken");
    const std::uint16_t flags = at<std::uint16_t>(rest, 8), method = at<std::uint16_t>(rest, 10);
    const std::size_t name_size = at<std::uint16_t>(rest, 28), extra_size = at<std::uint16_t>(rest, 30),
                      comment_size = at<std::uint16_t>(rest, 32);
    if (rest.size() - kCentralSize < name_size + extra_size + comment_size) wrong("entry ", i, " is cut short");
    ZipEntry e;
    e.name.assign(reinterpret_cast<const char*>(rest.data()) + kCentralSize, name_size);
    e.crc = at<std::uint32_t>(rest, 16);
    e.packed = at<std::uint32_t>(rest, 20);
    e.size = at<std::uint32_t>(rest, 24);
    std::uint64_t header = at<std::uint32_t>(rest, 42);
    for (std::span extra = rest.subspan(kCentralSize + name_size, extra_size); extra.size() >= 4;) {
      const std::size_t body = at<std::uint16_t>(extra, 2);
      if (body > extra.size() - 4) break;
      if (at<std::uint16_t>(extra, 0) == kZip64Extra) {
        std::size_t field = 4;
        for (std::uint64_t* wide : {&e.size, &e.packed, &header})
          if (*wide == 0xffffffff) {
            if (field + 8 > 4 + body) wrong("entry \"", e.name, "\" has a short zip64 record");
            *wide = at<std::uint64_t>(extra, field);
            field += 8;
          }
      }
      extra = extra.subspan(4 + body);
    }
    next += kCentralSize + name_size + extra_size + comment_size;

    if (flags & 1) wrong("entry \"", e.name, "\" is encrypted");
    if (method != 0 && method != 8)
      wrong("entry \"", e.name, "\" has compression method ", method, "; stored and deflated are read");
    e.deflated = method == 8;
    if (header > first || first - header < kLocalSize) wrong("entry \"", e.name, "\" begins outside the file");
    const std::vector<std::byte> local = source_->read(header, kLocalSize);
    if (at<std::uint32_t>(local, 0) != kLocal) wrong("entry \"", e.name, "\" has no local header at byte ", header);
    const std::uint64_t before = kLocalSize + at<std::uint16_t>(local, 26) + at<std::uint16_t>(local, 28);
    if (before > first - header || e.packed > first - header - before)
      wrong("entry \"", e.name, "\" of ", e.packed, " bytes reaches beyond the data");
    e.first = header + before;
    if (!e.deflated && e.size != e.packed) wrong("entry \"", e.name, "\" is stored but has two sizes");
    if (e.deflated && e.size / kMaxRatio > e.packed)
      wrong("entry \"", e.name, "\" claims to unpack ", e.packed, " bytes to ", e.size);
    ranges.emplace_back(header, e.first + e.packed);
    entries_.push_back(std::move(e));
  }
  std::sort(ranges.begin(), ranges.end());
  for (std::size_t i = 1; i < ranges.size(); ++i)
    if (ranges[i].first < ranges[i - 1].second) wrong("two entries overlap at byte ", ranges[i].first);
}

const ZipEntry* ZipReader::find(std::string_view name) const {
  for (const ZipEntry& e : entries_)
    if (e.name == name) return &e;
  return nullptr;
}
std::vector<std::byte> ZipReader::read(const ZipEntry& e) const { return unpacked(*source_, e); }
std::shared_ptr<const Storage> ZipReader::storage(const ZipEntry& e, StoredType type, std::int64_t numel) const {
  if (numel < 0 || static_cast<std::uint64_t>(numel) > e.size / size_of(type) ||
      static_cast<std::uint64_t>(numel) * size_of(type) != e.size)
    throw_error<DataError>(source_->name(), ": entry \"", e.name, "\" has ", e.size, " bytes, but ", numel,
                           " elements of ", type, " were announced.");
  return std::make_shared<EntryStorage>(source_, e, type, numel);
}
void ZipReader::verify() const {
  for (const ZipEntry& e : entries_)
    if (e.deflated)
      (void)unpacked(*source_, e);
    else
      verify_stored(*source_, e);
}

ZipWriter::ZipWriter(AtomicFile& file, std::uint64_t zip64_from) : file_(file), zip64_from_(zip64_from) {}

void ZipWriter::add(const std::string& name, std::uint64_t size, const std::function<void(const Take&)>& produce) {
  const std::uint64_t header = file_.position();
  const bool wide = size >= zip64_from_;
  const std::size_t zip64 = wide ? 20 : 0;
  // The padding record ends where the data begins.
  const std::uint64_t unpadded = header + kLocalSize + name.size() + zip64 + 4;
  const std::uint64_t padding = (kAlignment - unpadded % kAlignment) % kAlignment;
  std::string b;
  put(b, kLocal);
  put<std::uint16_t>(b, wide ? 45 : 20);  // version needed
  put<std::uint16_t>(b, 1 << 11);         // names are UTF-8
  put<std::uint16_t>(b, 0);               // stored
  put<std::uint32_t>(b, 0);               // no date: the same input gives the same bytes
  put<std::uint32_t>(b, 0);               // CRC: patched below
  for (int i = 0; i < 2; ++i) put(b, wide ? 0xffffffffu : static_cast<std::uint32_t>(size));
  put(b, static_cast<std::uint16_t>(name.size()));
  put(b, static_cast<std::uint16_t>(zip64 + 4 + padding));
  b += name;
  if (wide) {
    put(b, kZip64Extra), put<std::uint16_t>(b, 16);
    put(b, size), put(b, size);
  }
  put(b, kPaddingExtra), put(b, static_cast<std::uint16_t>(padding));
  b.resize(b.size() + padding, 'Z');
  file_.write(b);

  const std::uint64_t first = file_.position();
  std::uint32_t crc = 0;
  produce([&](std::span<const std::byte> piece) {
    crc = crc_of(crc, piece);
    file_.write(piece);
  });
  MFL_CHECK(file_.position() - first == size, "zip entry ", name, ": ", size, " bytes were announced and ",
            file_.position() - first, " came");
  file_.patch(header + 14, std::as_bytes(std::span(&crc, 1)));
  written_.push_back({name, header, size, crc});
}
void ZipWriter::add(const std::string& name, std::span<const std::byte> bytes) {
  add(name, bytes.size(), [&](const Take& take) { take(bytes); });
}

void ZipWriter::finish() {
  const std::uint64_t first = file_.position();
  for (const Written& w : written_) {
    std::string wide;
    const bool wide_size = w.size >= zip64_from_, wide_header = w.header >= zip64_from_;
    if (wide_size) put(wide, w.size), put(wide, w.size);
    if (wide_header) put(wide, w.header);
    std::string b;
    put(b, kCentral);
    put<std::uint16_t>(b, wide.empty() ? 20 : 45), put<std::uint16_t>(b, wide.empty() ? 20 : 45);
    put<std::uint16_t>(b, 1 << 11), put<std::uint16_t>(b, 0), put<std::uint32_t>(b, 0);
    put(b, w.crc);
    for (int i = 0; i < 2; ++i) put(b, wide_size ? 0xffffffffu : static_cast<std::uint32_t>(w.size));
    put(b, static_cast<std::uint16_t>(w.name.size()));
    put(b, static_cast<std::uint16_t>(wide.empty() ? 0 : 4 + wide.size()));
    put<std::uint16_t>(b, 0), put<std::uint16_t>(b, 0), put<std::uint16_t>(b, 0), put<std::uint32_t>(b, 0);
    put(b, wide_header ? 0xffffffffu : static_cast<std::uint32_t>(w.header));
    b += w.name;
    if (!wide.empty()) {
      put(b, kZip64Extra), put(b, static_cast<std::uint16_t>(wide.size()));
      b += wide;
    }
    file_.write(b);
  }
  const std::uint64_t end = file_.position(), length = end - first, count = written_.size();
  std::string b;
  const bool wide = count >= 0xffff || length >= zip64_from_ || first >= zip64_from_;
  if (wide) {
    put(b, kEnd64), put<std::uint64_t>(b, kEnd64Size - 12);
    put<std::uint16_t>(b, 45), put<std::uint16_t>(b, 45), put<std::uint32_t>(b, 0), put<std::uint32_t>(b, 0);
    put(b, count), put(b, count), put(b, length), put(b, first);
    put(b, kLocator64), put<std::uint32_t>(b, 0), put(b, end), put<std::uint32_t>(b, 1);
  }
  put(b, kEnd), put<std::uint32_t>(b, 0);
  for (int i = 0; i < 2; ++i) put(b, wide ? std::uint16_t{0xffff} : static_cast<std::uint16_t>(count));
  put(b, wide ? 0xffffffffu : static_cast<std::uint32_t>(length));
  put(b, wide ? 0xffffffffu : static_cast<std::uint32_t>(first));
  put<std::uint16_t>(b, 0);
  file_.write(b);
}

}  // namespace mfl::io
