#include "runtime/io/mat_file.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/error.h"

namespace mfl::io {
namespace {

constexpr std::uint64_t kHeader = 128;     // text, subsystem, version and byte order
constexpr std::uint64_t kMaxRatio = 1032;  // no deflate stream unpacks to more than so many times its size
constexpr std::size_t kPiece = std::size_t{1} << 20;
constexpr std::uint64_t kMaxName = 1 << 16;  // bytes of a variable's name or of all names of a struct

enum Type : std::uint32_t { i8 = 1, u8, i16, u16, i32, u32, f32 = 7, f64 = 9, i64 = 12, u64, matrix, compressed };
enum Class : std::uint32_t { cell_class = 1, struct_class = 2, double_class = 6, single_class = 7 };
constexpr std::uint32_t kComplex = 0x800;

std::uint64_t width(std::uint32_t type) {
  switch (type) {
    case i8:
    case u8:
      return 1;
    case i16:
    case u16:
      return 2;
    case i32:
    case u32:
    case f32:
      return 4;
    case f64:
    case i64:
    case u64:
      return 8;
    default:
      return 0;
  }
}

template <class T>
T get(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

[[noreturn]] void damaged(const ByteSource& file, std::uint64_t at, std::string_view what) {
  throw_error<DataError>(file.name(), ": ", what, " at byte ", at,
                         ": the MATLAB file is damaged or cut short. Copy or download it again.");
}

// One element: where its data lies in the source, and where the next one begins.
struct Element {
  std::uint32_t type;
  std::uint64_t first, bytes, next;
};
// The element at `at`, wholly before `end`.
Element element(const ByteSource& file, std::uint64_t at, std::uint64_t end) {
  constexpr std::uint64_t kTag = 8;
  if (at > end || end - at < kTag) damaged(file, at, "an element's tag is missing");
  std::byte tag[kTag];
  file.read(at, tag);
  const auto word = get<std::uint32_t>(tag);
  if (const std::uint32_t small = word >> 16) {  // up to four bytes of data inside the tag
    if (small > 4) damaged(file, at, "a small element claims more than four bytes");
    return {word & 0xffff, at + 4, small, at + kTag};
  }
  const std::uint64_t bytes = get<std::uint32_t>(tag + 4), first = at + kTag;
  if (bytes > end - first) damaged(file, at, text("an element of ", bytes, " bytes exceeds what holds it"));
  const std::uint64_t padded = word == compressed ? bytes : (bytes + 7) / 8 * 8;
  return {word, first, bytes, std::min(first + padded, end)};
}

// A deflated variable, unpacked; its own tag says how long it is.
Source unpacked(const ByteSource& file, const Element& e) {
  z_stream z{};
  if (inflateInit(&z) != Z_OK) throw_error<OutOfMemory>(file.name(), ": no host memory to unpack it.");
  struct End {
    z_stream* it;
    ~End() { inflateEnd(it); }
  } end{&z};
  std::vector<std::byte> in(std::min<std::uint64_t>(kPiece, e.bytes)), out(8);
  std::uint64_t taken = 0;
  auto fill = [&](std::size_t from) {  // out[from, size) from the stream
    z.next_out = reinterpret_cast<Bytef*>(out.data() + from);
    for (std::size_t left = out.size() - from; left > 0;) {
      const auto room = static_cast<uInt>(std::min(left, kPiece));
      z.avail_out = room;
      if (z.avail_in == 0 && taken < e.bytes) {
        z.avail_in = static_cast<uInt>(std::min<std::uint64_t>(in.size(), e.bytes - taken));
        file.read(e.first + taken, std::span(in).first(z.avail_in));
        z.next_in = reinterpret_cast<Bytef*>(in.data());
        taken += z.avail_in;
      }
      const int status = inflate(&z, Z_NO_FLUSH);
      const std::size_t made = room - z.avail_out;
      left -= made;
      const bool stuck = made == 0 && z.avail_in == 0 && taken == e.bytes;
      if ((status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR) ||
          ((status == Z_STREAM_END || stuck) && left > 0))
        damaged(file, e.first, "a packed variable cannot be unpacked");
    }
  };
  fill(0);
  const std::uint64_t size = out.size() + get<std::uint32_t>(out.data() + 4);
  if (size > kMaxRatio * e.bytes)
    damaged(file, e.first, text(e.bytes, " packed bytes cannot hold the ", size, " that a variable promises"));
  out.resize(size);
  fill(8);
  // The checksum follows the last byte.
  std::byte beyond;
  z.next_out = reinterpret_cast<Bytef*>(&beyond), z.avail_out = 1;
  std::vector<std::byte> rest = file.read(e.first + taken, std::min<std::uint64_t>(e.bytes - taken, 64));
  if (z.avail_in == 0) z.next_in = reinterpret_cast<Bytef*>(rest.data()), z.avail_in = static_cast<uInt>(rest.size());
  if (inflate(&z, Z_FINISH) != Z_STREAM_END || z.avail_out == 0)
    damaged(file, e.first, "a packed variable's checksum or length is wrong");
  return memory_source(std::move(out), file.name());
}

// An array's description; its contents begin at `cursor`.
struct Array {
  Source file;
  std::uint32_t array_class = 0;
  bool complex = false;
  std::vector<std::int64_t> axes;
  std::string name;
  std::uint64_t cursor = 0, end = 0;

  Element next() {
    const Element e = element(*file, cursor, end);
    cursor = e.next;
    return e;
  }
  // Elements, none for an empty array; no more than fit in the bytes that hold them.
  std::uint64_t numel() const {
    std::uint64_t n = 1;
    for (std::int64_t a : axes) {
      if (a == 0) return 0;
      if (n > (end - cursor) / static_cast<std::uint64_t>(a))
        damaged(*file, cursor, "an array has more elements than bytes");
      n *= static_cast<std::uint64_t>(a);
    }
    return axes.empty() ? 0 : n;
  }
};

std::string string_of(const Array& a, const Element& e) {
  if (e.bytes > kMaxName) damaged(*a.file, e.first, "a name is longer than 64 KiB");
  const std::vector<std::byte> b = a.file->read(e.first, e.bytes);
  return {reinterpret_cast<const char*>(b.data()), b.size()};
}

Array array(const Source& file, const Element& e) {
  if (e.type != matrix) damaged(*file, e.first, text("an array is expected, not element type ", e.type));
  Array a;
  a.file = file, a.cursor = e.first, a.end = e.first + e.bytes;
  if (e.bytes == 0) return a;  // an empty array
  const Element flags = a.next();
  if (flags.type != u32 || flags.bytes != 8) damaged(*file, flags.first, "an array has no flags");
  std::byte word[4];
  file->read(flags.first, word);
  a.array_class = get<std::uint32_t>(word) & 0xff;
  a.complex = get<std::uint32_t>(word) & kComplex;
  const Element axes = a.next();
  if (axes.type != i32 || axes.bytes % 4 || axes.bytes > 4 * 64)
    damaged(*file, axes.first, "an array has no dimensions");
  for (std::uint64_t i = 0; i < axes.bytes; i += 4) {
    file->read(axes.first + i, word);
    a.axes.push_back(get<std::int32_t>(word));
    if (a.axes.back() < 0) damaged(*file, axes.first, "an array has a negative dimension");
  }
  a.name = string_of(a, a.next());
  return a;
}

// Of the array's cells, the one at `index`; cells are visited in order: `a` is left behind it.
Array next_cell(Array& a) { return array(a.file, a.next()); }

// The field of a struct's first element; nothing if there is none.
std::optional<Array> field(Array a, std::string_view wanted) {
  const Element length = a.next();
  if (length.type != i32 || length.bytes != 4) damaged(*a.file, length.first, "a struct has no length of names");
  std::byte word[4];
  a.file->read(length.first, word);
  const auto step = get<std::int32_t>(word);
  if (step <= 0) damaged(*a.file, length.first, "a struct's names have no length");
  const std::string names = string_of(a, a.next());
  if (a.numel() == 0) return {};
  for (std::size_t at = 0; at + step <= names.size(); at += step) {
    const Element value = a.next();
    if (std::string_view(names.c_str() + at, strnlen(names.c_str() + at, step)) == wanted) return array(a.file, value);
  }
  return {};
}

// Numbers that lie in the source as they are.
class MatStorage final : public Storage {
 public:
  MatStorage(Source file, std::uint64_t first, StoredType type, std::uint64_t numel)
      : Storage(type, static_cast<std::int64_t>(numel)), file_(std::move(file)), first_(first) {}
  void read(std::uint64_t first, std::span<std::byte> into) const override { file_->read(first_ + first, into); }

 private:
  Source file_;
  std::uint64_t first_;
};

double number(std::uint32_t type, const std::byte* at) {
  switch (type) {
    case i8:
      return get<std::int8_t>(at);
    case u8:
      return get<std::uint8_t>(at);
    case i16:
      return get<std::int16_t>(at);
    case u16:
      return get<std::uint16_t>(at);
    case i32:
      return get<std::int32_t>(at);
    case u32:
      return get<std::uint32_t>(at);
    case f32:
      return get<float>(at);
    case f64:
      return get<double>(at);
    case i64:
      return static_cast<double>(get<std::int64_t>(at));
    default:
      return static_cast<double>(get<std::uint64_t>(at));
  }
}

template <class T>
std::shared_ptr<const Storage> converted(const Array& a, const Element& data, std::uint64_t count, StoredType type) {
  const std::vector<std::byte> in = a.file->read(data.first, data.bytes);
  std::vector<std::byte> out(count * sizeof(T));
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto value = static_cast<T>(number(data.type, in.data() + i * width(data.type)));
    std::memcpy(out.data() + i * sizeof value, &value, sizeof value);
  }
  return stored(std::move(out), type, {static_cast<std::int64_t>(count)}).storage;
}

// A real array of single or double. MATLAB stores whole numbers in the smallest integer type: those are converted.
StoredTensor numbers(Array a, const std::string& what) {
  if (a.complex) throw_error<DataError>(what, " is complex; real numbers are expected.");
  if (a.array_class != single_class && a.array_class != double_class)
    throw_error<DataError>(what, " is neither single nor double (MATLAB class ", a.array_class, ").");
  StoredTensor t{nullptr, 0, checked_shape(a.axes, what), {}};
  t.stride = t.shape;
  std::int64_t step = 1;
  for (int i = 0; i < t.shape.rank(); ++i) t.stride[i] = step, step *= t.shape[i];
  const Element data = a.next();
  const std::uint64_t each = width(data.type);
  const auto count = static_cast<std::uint64_t>(t.shape.numel());
  if (each == 0 || count > data.bytes || data.bytes != count * each)
    throw_error<DataError>(what, " is ", t.shape, ", but ", data.bytes, " bytes of element type ", data.type,
                           " are stored: the file is damaged.");
  const bool single = a.array_class == single_class;
  if (data.type == (single ? f32 : f64)) {
    t.storage = std::make_shared<MatStorage>(a.file, data.first, single ? StoredType::f32 : StoredType::f64, count);
  } else {
    t.storage =
        single ? converted<float>(a, data, count, StoredType::f32) : converted<double>(a, data, count, StoredType::f64);
  }
  check_inside(t, what);
  return t;
}

// [h, w, in, out] to [out, in, h, w]. MATLAB drops trailing axes of one element.
StoredTensor kernel(const StoredTensor& t, const std::string& what) {
  if (t.shape.rank() > 4) throw_error<DataError>(what, " is ", t.shape, "; a kernel has the four axes h, w, in, out.");
  auto axis = [&](int i) { return i < t.shape.rank() ? t.shape[i] : 1; };
  auto step = [&](int i) { return i < t.shape.rank() ? t.stride[i] : t.numel(); };
  return {t.storage, 0, {axis(3), axis(2), axis(0), axis(1)}, {step(3), step(2), step(0), step(1)}};
}
StoredTensor bias(const StoredTensor& t) { return {t.storage, 0, {t.numel()}, {1}}; }

// The variable of this name; nothing if the file holds none.
std::optional<Array> variable(const Source& file, std::string_view name) {
  for (std::uint64_t at = kHeader; at < file->size();) {
    const Element e = element(*file, at, file->size());
    at = e.next;
    Array a;
    if (e.type == compressed) {
      const Source inside = unpacked(*file, e);
      a = array(inside, element(*inside, 0, inside->size()));
    } else if (e.type == matrix) {
      a = array(file, e);
    }
    if (a.name == name) return a;
  }
  return {};
}

}  // namespace

bool is_mat_file(std::span<const std::byte> head) {
  constexpr std::string_view kText = "MATLAB 5.0 MAT-file";
  return head.size() >= kText.size() && std::memcmp(head.data(), kText.data(), kText.size()) == 0;
}

std::vector<NamedStored> read_matconvnet(const Source& source) {
  const std::string& file = source->name();
  const std::vector<std::byte> start = head(*source, kHeader);
  if (start.size() < kHeader) damaged(*source, 0, "the header is missing");
  if (start[126] != std::byte{'I'} || start[127] != std::byte{'M'})
    throw_error<DataError>(file,
                           " was written on a big-endian machine. In MATLAB or Octave: load it and save it again.");
  std::optional<Array> layers = variable(source, "layers");
  if (!layers || layers->array_class != cell_class)
    throw_error<DataError>(file, " holds no cell array `layers`: it is no MatConvNet network, or is damaged.");

  std::vector<NamedStored> all;
  const std::uint64_t count = layers->numel();
  for (std::uint64_t i = 0; i < count; ++i) {
    const Array layer = next_cell(*layers);
    if (layer.array_class != struct_class) continue;
    std::optional<Array> w = field(layer, "filters"), b = field(layer, "biases");
    if (std::optional<Array> both = field(layer, "weights");
        both && both->array_class == cell_class && both->numel() >= 2) {
      w = next_cell(*both);
      b = next_cell(*both);
    }
    if (!w || !b) continue;  // ReLU and pooling have none
    const std::string name = text("layers.", i);
    all.push_back({name + ".weight", kernel(numbers(*w, file + ": " + name + ".weight"), file + ": " + name)});
    all.push_back({name + ".bias", bias(numbers(*b, file + ": " + name + ".bias"))});
  }
  if (all.empty()) throw_error<DataError>(file, ": none of its ", count, " layers has weights.");
  return all;
}

}  // namespace mfl::io
