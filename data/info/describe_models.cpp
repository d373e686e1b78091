#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>

#include "data/info/describe.h"
#include "data/number_text.h"
#include "models/gslrm/ply.h"
#include "runtime/error.h"
#include "runtime/io/safetensors.h"
#include "runtime/io/torch_file.h"
#include "runtime/io/weight_file.h"

namespace mfl::data::info {
namespace {

// The part of a name before its first dot.
std::string group_of(const std::string& name) { return name.substr(0, name.find('.')); }

// ---- event files: records of 8 bytes length, 4 checksum, the message, 4 checksum; messages in protobuf's wire format
// ----

struct Reader {
  std::string_view bytes;
  bool good = true;

  std::uint64_t varint() {
    std::uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (bytes.empty()) return good = false, 0;
      const auto b = static_cast<std::uint8_t>(bytes[0]);
      bytes.remove_prefix(1);
      v |= std::uint64_t{b & 0x7fu} << shift;
      if (!(b & 0x80)) return v;
    }
    return good = false, 0;
  }
  std::string_view take(std::uint64_t n) {
    if (n > bytes.size()) return good = false, std::string_view{};
    const std::string_view part = bytes.substr(0, n);
    bytes.remove_prefix(n);
    return part;
  }
};
// Calls `field(number, wire type, number or 0, bytes)` for each field; false where the message is damaged.
template <class F>
bool each_field(std::string_view message, F&& field) {
  Reader r{message};
  while (r.good && !r.bytes.empty()) {
    const std::uint64_t key = r.varint();
    const int type = static_cast<int>(key & 7);
    if (type == 0)
      field(key >> 3, type, r.varint(), std::string_view{});
    else if (type == 1)
      field(key >> 3, type, 0, r.take(8));
    else if (type == 2)
      field(key >> 3, type, 0, r.take(r.varint()));
    else if (type == 5)
      field(key >> 3, type, 0, r.take(4));
    else
      return false;
  }
  return r.good;
}

}  // namespace

std::string describe_weights(const std::string& path) {
  const io::WeightFile file = io::open_weights(path);
  std::int64_t elements = 0;
  std::uint64_t bytes = 0;
  std::map<std::string, std::int64_t> types;
  std::map<std::string, std::array<std::int64_t, 2>> groups;  // tensors, elements
  for (const io::NamedStored& t : file.tensors) {
    elements += t.tensor.numel(), bytes += t.tensor.bytes();
    types[io::name_of(t.tensor.type())] += t.tensor.numel();
    auto& g = groups[group_of(t.name)];
    ++g[0], g[1] += t.tensor.numel();
  }
  std::string out =
      text(path, ": ", file.format, ", ", file.tensors.size(), " tensors, ",
           format("%.2f M numbers, %.1f MB\n", static_cast<double>(elements) / 1e6, static_cast<double>(bytes) / 1e6));
  out += "  types        ";
  for (const auto& [type, count] : types) out += text(type, ' ', format("%.2f M  ", static_cast<double>(count) / 1e6));
  out += '\n';
  if (file.format == "torch") {
    const io::Value root = io::read_torch_file(path);
    if (root.is_dict())
      for (const auto& [key, value] : root.entries()) {
        if (key.kind() != io::Value::Kind::string) continue;
        if (value.kind() == io::Value::Kind::integer)
          out += format("  %-28.28s %lld\n", key.string().c_str(), static_cast<long long>(value.integer()));
        else if (value.kind() == io::Value::Kind::real)
          out += format("  %-28.28s %g\n", key.string().c_str(), value.number());
        else if (value.kind() == io::Value::Kind::string)
          out += format("  %-28.28s %.120s\n", key.string().c_str(), value.string().c_str());
        else if (value.is_dict())
          out += format("  %-28.28s a table of %zu entries\n", key.string().c_str(), value.entries().size());
      }
  } else if (file.format == "safetensors") {
    const io::SafetensorsFile stored{std::filesystem::path(path)};
    for (const auto& [key, value] : stored.metadata()) out += format("  %-28.28s %.120s\n", key.c_str(), value.c_str());
  }
  out += "  begins with               tensors   M numbers\n";
  int shown = 0;
  for (const auto& [name, g] : groups) {
    if (++shown > 16) break;
    out += format("  %-24.24s %8lld  %10.3f\n", name.c_str(), static_cast<long long>(g[0]),
                  static_cast<double>(g[1]) / 1e6);
  }
  if (groups.size() > 16)
    out += text("  and ", groups.size() - 16, " more; mfl_convert list shows all\n");
  else if (!file.tensors.empty())
    out += text("  the first: ", file.tensors[0].name, "; mfl_convert list shows all\n");
  return out;
}

std::string describe_gaussians(const std::string& path) {
  const gslrm::Gaussians g = gslrm::read_ply(std::filesystem::path(path));
  const std::int64_t n = g.xyz.shape()[0];
  const float *xyz = g.xyz.data<float>(), *opacity = g.opacity.data<float>(),
              *scaling = g.scaling.data<float>();
  std::string out =
      text(path, ": ", n, " Gaussians, spherical harmonics of degree ",
           static_cast<int>(std::lround(std::sqrt(static_cast<double>(g.features.shape()[1])))) - 1, '\n');
  if (n == 0) return out;
  std::array<double, 3> least{1e300, 1e300, 1e300}, most{-1e300, -1e300, -1e300};
  std::int64_t faint = 0, visible = 0, strong = 0;
  std::vector<double> sizes;
  for (std::int64_t i = 0; i < n; ++i) {
    const double o = 1 / (1 + std::exp(-static_cast<double>(opacity[i])));
    faint += o < 0.01, visible += o >= 0.01, strong += o >= 0.1;
    if (o < 0.01) continue;
    for (std::size_t k = 0; k < 3; ++k) {
      const double v = xyz[3 * i + static_cast<std::int64_t>(k)];
      least[k] = std::min(least[k], v), most[k] = std::max(most[k], v);
    }
    sizes.push_back(std::exp(static_cast<double>(std::max({scaling[3 * i], scaling[3 * i + 1], scaling[3 * i + 2]}))));
  }
  const auto share = [&](std::int64_t k) { return 100.0 * static_cast<double>(k) / static_cast<double>(n); };
  out += format("  opacity      below 0.01: %lld (%.1f %%), from 0.01: %lld (%.1f %%), from 0.1: %lld (%.1f %%)\n",
                static_cast<long long>(faint), share(faint), static_cast<long long>(visible), share(visible),
                static_cast<long long>(strong), share(strong));
  if (sizes.empty()) return out;
  std::sort(sizes.begin(), sizes.end());
  out += format("  visible box  x %.3f to %.3f, y %.3f to %.3f, z %.3f to %.3f\n", least[0], most[0], least[1], most[1],
                least[2], most[2]);
  out += format("  largest axis median %.4f, 90 %% below %.4f, largest %.4f\n", sizes[sizes.size() / 2],
                sizes[sizes.size() * 9 / 10], sizes.back());
  return out;
}

std::string describe_events(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string all((std::istreambuf_iterator<char>(in)), {});
  struct Series {
    std::int64_t count = 0, last_step = 0;
    float last = 0;
    bool number = false;
  };
  std::map<std::string, Series> series;
  std::int64_t records = 0, last_step = 0;
  std::size_t at = 0;
  bool whole = true;
  while (at < all.size()) {
    std::uint64_t size = 0;
    if (all.size() - at < 16) {
      whole = false;
      break;
    }
    std::memcpy(&size, &all[at], 8);
    if (size > all.size() - at - 16) {
      whole = false;
      break;
    }
    const std::string_view message(&all[at + 12], size);
    at += 16 + size;
    ++records;
    std::int64_t step = 0;
    std::vector<std::string_view> values;
    const bool good =
        each_field(message, [&](std::uint64_t field, int type, std::uint64_t number, std::string_view bytes) {
          if (field == 2 && type == 0) step = static_cast<std::int64_t>(number);
          if (field == 5 && type == 2)
            each_field(bytes, [&](std::uint64_t f, int t, std::uint64_t, std::string_view v) {
              if (f == 1 && t == 2) values.push_back(v);
            });
        });
    if (!good) throw_error<DataError>(path, ": record ", records - 1, " is damaged, or this is no event file");
    last_step = std::max(last_step, step);
    for (std::string_view value : values) {
      std::string tag;
      float scalar = 0;
      bool number = false;
      each_field(value, [&](std::uint64_t f, int t, std::uint64_t, std::string_view v) {
        if (f == 1 && t == 2) tag = v;
        if (f == 2 && t == 5 && v.size() == 4) std::memcpy(&scalar, v.data(), 4), number = true;
      });
      Series& s = series[tag];
      ++s.count, s.last_step = step, s.last = scalar, s.number = number;
    }
  }
  if (records == 0) throw_error<DataError>(path, ": holds no whole record: empty, or no event file");
  std::string out = text(path, ": event file, ", records, " records to step ", last_step,
                         whole ? "" : "; the last record is cut off", '\n');
  int shown = 0;
  for (const auto& [tag, s] : series) {
    if (++shown > 24) break;
    out += s.number ? format("  %-36.36s %6lld values, %g at step %lld\n", tag.c_str(), static_cast<long long>(s.count),
                             static_cast<double>(s.last), static_cast<long long>(s.last_step))
                    : format("  %-36.36s %6lld entries, the last at step %lld\n", tag.c_str(),
                             static_cast<long long>(s.count), static_cast<long long>(s.last_step));
  }
  if (series.size() > 24) out += text("  and ", series.size() - 24, " more tags\n");
  return out;
}

}  // namespace mfl::data::info
