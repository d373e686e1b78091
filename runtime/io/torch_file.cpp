#include "runtime/io/torch_file.h"

#include <cstring>
#include <unordered_map>

#include "runtime/io/atomic_folder.h"
#include "runtime/io/pickle.h"
#include "runtime/io/zip.h"

namespace mfl::io {
namespace {

// The first pickle of an old file: the integer 0x1950a86a20f9469cfc6c, protocol 2.
constexpr unsigned char kLegacyMagic[] = {0x80, 2,    0x8a, 10,   0x6c, 0xfc, 0x9c, 0x46,
                                          0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};
constexpr std::int64_t kLegacyVersion = 1001;

bool is_legacy(std::span<const std::byte> head) {
  return head.size() >= sizeof kLegacyMagic && std::memcmp(head.data(), kLegacyMagic, sizeof kLegacyMagic) == 0;
}

Value read_zip(const Source& source) {
  const ZipReader zip(source);
  const std::string& file = source->name();
  const ZipEntry* program = nullptr;
  for (const ZipEntry& e : zip.entries())
    if (e.name.ends_with("/data.pkl") && e.name.find('/') == e.name.size() - 9) program = &e;
  if (!program) throw_error<DataError>(file, " is a zip archive, but not one of torch.save: it has no NAME/data.pkl.");
  const std::string prefix = program->name.substr(0, program->name.size() - 8);
  if (const ZipEntry* order = zip.find(prefix + "byteorder")) {
    const std::vector<std::byte> text = zip.read(*order);
    if (std::string_view(reinterpret_cast<const char*>(text.data()), text.size()) != "little")
      throw_error<DataError>(file, " was written on a big-endian machine, which is not supported.");
  }
  std::unordered_map<std::string_view, const ZipEntry*> by_name;
  for (const ZipEntry& e : zip.entries()) by_name[e.name] = &e;
  std::unordered_map<std::string, std::shared_ptr<const Storage>> storages;
  auto load = [&](const StorageId& id) {
    std::shared_ptr<const Storage>& s = storages[id.key];
    if (!s) {
      const auto entry = by_name.find(prefix + "data/" + id.key);
      if (entry == by_name.end())
        throw_error<DataError>(file, ": the storage \"", id.key, "\" is missing from the archive.");
      s = zip.storage(*entry->second, id.type, id.numel);
    }
    if (s->type() != id.type || s->numel() != id.numel)
      throw_error<DataError>(file, ": the storage \"", id.key, "\" is announced twice, differently.");
    return s;
  };
  return unpickle(zip.read(*program), file, load).value;
}

// A storage of an old file: where it lies is known only after the pickles have been read.
class LegacyStorage final : public Storage {
 public:
  LegacyStorage(Source source, StoredType type, std::int64_t numel)
      : Storage(type, numel), source_(std::move(source)) {}
  void read(std::uint64_t first, std::span<std::byte> into) const override { source_->read(first_ + first, into); }
  void lies_at(std::uint64_t first) { first_ = first; }

 private:
  Source source_;
  std::uint64_t first_ = 0;
};

// Magic, version, machine, object, list of storage keys: five pickles; then for each key an i64 count and the elements.
Value read_legacy(const Source& source) {
  const std::string& file = source->name();
  std::unordered_map<std::string, std::shared_ptr<LegacyStorage>> storages;
  auto load = [&](const StorageId& id) -> std::shared_ptr<const Storage> {
    auto& s = storages[id.key];
    if (!s) s = std::make_shared<LegacyStorage>(source, id.type, id.numel);
    if (s->type() != id.type || s->numel() != id.numel)
      throw_error<DataError>(file, ": the storage \"", id.key, "\" is announced twice, differently.");
    return s;
  };
  // How long the pickles are is known only after reading them. Such files are small or are read once.
  std::uint64_t at = sizeof kLegacyMagic;
  const std::vector<std::byte> bytes = source->read(0, source->size());
  auto next = [&](const PersistentLoad& persistent) {
    Unpickled u = unpickle(std::span(bytes).subspan(at), file, persistent);
    at += u.bytes;
    return std::move(u.value);
  };
  if (const std::int64_t version = next({}).integer(); version != kLegacyVersion)
    throw_error<DataError>(file, ": version ", version, " of the old torch.save format; ", kLegacyVersion, " is read.");
  const Value machine = next({});
  if (const Value* little = machine.find("little_endian"); little && !little->boolean())
    throw_error<DataError>(file, " was written on a big-endian machine, which is not supported.");
  Value root = next(load);
  const Value keys = next({});
  for (const Value& key : keys.items()) {
    const auto found = storages.find(key.string());
    if (found == storages.end()) throw_error<DataError>(file, ": storage \"", key.string(), "\" belongs to no tensor.");
    LegacyStorage& s = *found->second;
    std::int64_t numel = 0;
    source->read(at, std::as_writable_bytes(std::span(&numel, 1)));
    at += sizeof numel;
    if (numel != s.numel() || s.bytes() > source->size() - at)
      throw_error<DataError>(file, ": storage \"", key.string(), "\" of ", s.numel(), " elements has ", numel,
                             " in the file, or the file is cut short.");
    s.lies_at(at);
    at += s.bytes();
    storages.erase(found);
  }
  if (!storages.empty())
    throw_error<DataError>(file, " is cut short: storage \"", storages.begin()->first, "\" is missing.");
  return root;
}

}  // namespace

bool is_torch_file(std::span<const std::byte> head) { return is_zip(head) || is_legacy(head); }

Value read_torch_file(Source source) {
  const std::vector<std::byte> first = head(*source, sizeof kLegacyMagic);
  if (is_zip(first)) return read_zip(source);
  if (is_legacy(first)) return read_legacy(source);
  throw_error<DataError>(
      source->name(),
      " is no file of torch.save: it is neither a zip archive nor in the form before "
      "PyTorch 1.6. If it was downloaded, look at its first bytes: an error page is a frequent cause.");
}
Value read_torch_file(const std::filesystem::path& path) { return read_torch_file(open_file(path)); }

void write_torch_file(const std::filesystem::path& path, const Value& root, bool from_disk) {
  std::vector<const Storage*> order;
  std::unordered_map<const Storage*, std::string> keys;
  auto key_of = [&](const StoredTensor& t) {
    const auto [at, added] = keys.try_emplace(t.storage.get(), std::to_string(order.size()));
    if (added) order.push_back(t.storage.get());
    return at->second;
  };
  const std::vector<std::byte> program = pickle(root, key_of);

  AtomicFile file(path);
  ZipWriter zip(file);
  auto add_text = [&](const char* name, std::string_view text) { zip.add(name, std::as_bytes(std::span(text))); };
  zip.add("archive/data.pkl", program);
  add_text("archive/byteorder", "little");
  for (const Storage* s : order)
    zip.add("archive/data/" + keys[s], s->bytes(), [&](const ZipWriter::Take& take) {
      std::vector<std::byte> piece(std::min<std::size_t>(s->bytes(), std::size_t{4} << 20));
      for (std::uint64_t done = 0; done < s->bytes(); done += piece.size()) {
        const auto part = std::span(piece).first(std::min<std::size_t>(piece.size(), s->bytes() - done));
        s->read(done, part);
        take(part);
      }
    });
  add_text("archive/version", "3\n");
  zip.finish();
  file.flush();
  if (from_disk) {
    file.sync();
    drop_cached_pages(file.temporary());
  }
  ZipReader(open_file(file.temporary())).verify();
  file.commit();
}

}  // namespace mfl::io
