#include "runtime/io/safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "runtime/io/atomic_file.h"
#include "runtime/io/nearest_name.h"

namespace mfl::io {
namespace {

using Json = nlohmann::json;
constexpr std::uint64_t kMaxHeader = 100'000'000;  // the format's own limit

struct TypeName {
  const char* name;
  StoredType type;
};
constexpr TypeName kTypes[] = {{"F64", StoredType::f64},     {"F32", StoredType::f32}, {"BF16", StoredType::bf16},
                               {"F16", StoredType::f16},     {"I64", StoredType::i64}, {"I32", StoredType::i32},
                               {"I16", StoredType::i16},     {"I8", StoredType::i8},   {"U8", StoredType::u8},
                               {"BOOL", StoredType::boolean}};
std::optional<StoredType> type_of(std::string_view name) {
  for (const TypeName& t : kTypes)
    if (name == t.name) return t.type;
  return {};
}
const char* format_name(StoredType type) {
  for (const TypeName& t : kTypes)
    if (type == t.type) return t.name;
  return "?";
}

// Bytes [8 + header, ...) of the file, seen from one tensor's first byte.
class FileRun final : public Storage {
 public:
  FileRun(Source source, std::uint64_t first, StoredType type, std::int64_t numel)
      : Storage(type, numel), source_(std::move(source)), first_(first) {}
  void read(std::uint64_t first, std::span<std::byte> into) const override { source_->read(first_ + first, into); }

 private:
  Source source_;
  std::uint64_t first_;
};

struct Span {
  std::uint64_t begin, end;
  std::size_t tensor;
};

}  // namespace

SafetensorsFile::SafetensorsFile(Source source) : source_(std::move(source)) {
  const std::string& file = source_->name();
  const std::uint64_t size = source_->size();
  std::uint64_t length = 0;
  if (size < 8)
    throw_error<DataError>(file, " is no safetensors file: it has ", size, " bytes and not even a header length.");
  source_->read(0, std::as_writable_bytes(std::span(&length, 1)));
  if (length > size - 8 || length > kMaxHeader)
    throw_error<DataError>(file, " is no safetensors file, or is cut short: its header would be ", length,
                           " bytes in a file of ", size, ".");
  const std::vector<std::byte> header = source_->read(8, length);
  const char* begin = reinterpret_cast<const char*>(header.data());
  const Json json = Json::parse(begin, begin + header.size(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) throw_error<DataError>(file, " is no safetensors file: its header is not a JSON object.");

  const std::uint64_t data = size - 8 - length;
  std::vector<Span> spans;
  for (const auto& [name, entry] : json.items()) {
    if (name == "__metadata__") {
      for (const auto& [key, value] : entry.items())
        if (value.is_string()) metadata_[key] = value.get<std::string>();
      continue;
    }
    const std::string what = file + ": tensor \"" + name + "\"";
    auto wrong = [&](const char* why) { throw_error<DataError>(what, ": ", why, "."); };
    if (!entry.is_object()) wrong("its header entry is not an object");
    const auto dtype = entry.find("dtype"), shape = entry.find("shape"), offsets = entry.find("data_offsets");
    if (dtype == entry.end() || !dtype->is_string()) wrong("no dtype");
    const auto type = type_of(dtype->get_ref<const std::string&>());
    if (!type)
      throw_error<DataError>(what, ": element type ", *dtype,
                             " is not supported; F64, F32, BF16, F16, I64, I32, I16, I8, U8 and BOOL are.");
    if (shape == entry.end() || !shape->is_array()) wrong("no shape");
    std::vector<std::int64_t> axes;
    for (const Json& axis : *shape) {
      if (!axis.is_number_unsigned() || axis.get<std::uint64_t>() > std::uint64_t{INT64_MAX})
        wrong("an axis of its shape is not a count");
      axes.push_back(axis.get<std::int64_t>());
    }
    if (offsets == entry.end() || !offsets->is_array() || offsets->size() != 2 || !(*offsets)[0].is_number_unsigned() ||
        !(*offsets)[1].is_number_unsigned())
      wrong("data_offsets are not two byte offsets");
    const std::uint64_t from = (*offsets)[0].get<std::uint64_t>(), to = (*offsets)[1].get<std::uint64_t>();
    if (from > to || to > data)
      throw_error<DataError>(what, ": bytes ", from, " to ", to, " lie outside the ", data, " bytes of data.");
    const Shape checked = checked_shape(axes, what);
    if (static_cast<std::uint64_t>(checked.numel()) * size_of(*type) != to - from)
      throw_error<DataError>(what, ": shape ", checked, " of ", *type, " needs ",
                             static_cast<std::uint64_t>(checked.numel()) * size_of(*type), " bytes, but it has ",
                             to - from, ".");
    spans.push_back({from, to, tensors_.size()});
    tensors_.push_back({name,
                        {std::make_shared<FileRun>(source_, 8 + length + from, *type, checked.numel()), 0, checked,
                         checked.row_major()}});
  }
  // The format allows neither overlaps nor holes.
  std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) {
    return std::tie(a.begin, a.end, a.tensor) < std::tie(b.begin, b.end, b.tensor);
  });
  std::uint64_t end = 0;
  std::vector<NamedStored> ordered;
  for (const Span& s : spans) {
    NamedStored& t = tensors_[s.tensor];
    if (s.begin != end)
      throw_error<DataError>(file, ": tensor \"", t.name, "\" begins at byte ", s.begin, " of the data, but ",
                             s.begin < end ? "the one before it reaches to " : "nothing explains the bytes from ", end,
                             ".");
    end = s.end;
    ordered.push_back(std::move(t));
  }
  if (end != data)
    throw_error<DataError>(file, ": the header explains ", end, " bytes of data, but the file has ", data, ".");
  tensors_ = std::move(ordered);
}

const StoredTensor* SafetensorsFile::find(std::string_view name) const {
  for (const NamedStored& t : tensors_)
    if (t.name == name) return &t.tensor;
  return nullptr;
}
const StoredTensor& SafetensorsFile::at(std::string_view wanted) const {
  if (const StoredTensor* t = find(wanted)) return *t;
  std::vector<std::string> names;
  for (const NamedStored& t : tensors_) names.push_back(t.name);
  const std::string near = nearest_name(wanted, names);
  throw_error<DataError>(name(), " has no tensor \"", wanted, "\"",
                         near.empty() ? "" : "; the nearest name is \"" + near + "\"", ".");
}
Tensor SafetensorsFile::load(std::string_view name) const { return io::load(at(name), name); }
Tensor SafetensorsFile::load(std::string_view name, DType dtype) const { return io::load(at(name), dtype, name); }

std::vector<NamedTensor> read_safetensors(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  std::vector<NamedTensor> all;
  for (const NamedStored& t : file.tensors()) all.push_back({t.name, load(t.tensor, t.name)});
  return all;
}

void write_safetensors(const std::filesystem::path& path, const std::vector<NamedStored>& given,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<const NamedStored*> tensors;
  for (const NamedStored& t : given) tensors.push_back(&t);
  std::stable_sort(tensors.begin(), tensors.end(), [](const NamedStored* a, const NamedStored* b) {
    return size_of(a->tensor.type()) > size_of(b->tensor.type());
  });

  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t end = 0;
  for (const NamedStored* t : tensors) {
    if (header.contains(t->name))
      throw_error<DataError>(path.string(), " was not written: two tensors are named \"", t->name, "\".");
    header[t->name] = {{"dtype", format_name(t->tensor.type())},
                       {"shape", std::vector<std::int64_t>(t->tensor.shape.begin(), t->tensor.shape.end())},
                       {"data_offsets", {end, end + t->tensor.bytes()}}};
    end += t->tensor.bytes();
  }
  std::string json = header.dump();
  json.resize((json.size() + 7) / 8 * 8, ' ');

  AtomicFile file(path);
  const std::uint64_t length = json.size();
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(json);
  for (const NamedStored* t : tensors)
    for_each_piece(t->tensor, t->name, [&](std::span<const std::byte> piece) { file.write(piece); });
  file.flush();
  (void)SafetensorsFile(open_file(file.temporary()));  // read back: every tensor lies where the header says
  file.commit();
}
void write_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<NamedStored> all;
  for (const NamedTensor& t : tensors) all.push_back({t.name, stored(t.value)});
  write_safetensors(path, all, metadata);
}

}  // namespace mfl::io
