// Event files of TensorBoard: records of 8 bytes length, 4 checksum, the message, 4 checksum; messages in protobuf's wire
// format.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <string_view>
#include <vector>

#include "data/info/describe.h"
#include "data/number_text.h"
#include "runtime/error.h"

namespace mfl::data::info {
namespace {

// The fields of one message.
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
