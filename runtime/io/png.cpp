#include "runtime/io/png.h"

#include <zlib.h>

#include <array>
#include <cstdlib>
#include <vector>

#include "runtime/error.h"
#include "runtime/io/atomic_file.h"

namespace mfl::io {
namespace {

void put_u32(std::string& out, std::uint32_t x) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(x >> shift);
}
void put_u16(std::string& out, std::uint32_t x) {
  out += static_cast<char>(x >> 8);
  out += static_cast<char>(x);
}

// Length, type, bytes, CRC-32 of type and bytes.
void put_chunk(std::string& out, const char* type, const std::string& bytes) {
  put_u32(out, static_cast<std::uint32_t>(bytes.size()));
  const std::size_t from = out.size();
  out += type;
  out += bytes;
  const auto* summed = reinterpret_cast<const Bytef*>(out.data() + from);
  put_u32(out, static_cast<std::uint32_t>(crc32(0, summed, static_cast<uInt>(out.size() - from))));
}

int paeth(int left, int up, int corner) {
  const int p = left + up - corner;
  const int dl = std::abs(p - left), du = std::abs(p - up), dc = std::abs(p - corner);
  return dl <= du && dl <= dc ? left : du <= dc ? up : corner;
}

// Of the five filters the one with the smallest sum of |signed residual|: the heuristic that the standard recommends.
void filter_row(const std::uint8_t* row, const std::uint8_t* above, int bytes, int step,
                std::vector<std::uint8_t>& out) {
  std::array<std::vector<std::uint8_t>, 5> tried;
  std::array<long, 5> cost{};
  for (auto& t : tried) t.resize(static_cast<std::size_t>(bytes));
  for (int i = 0; i < bytes; ++i) {
    const int x = row[i], left = i >= step ? row[i - step] : 0, up = above ? above[i] : 0;
    const int corner = above && i >= step ? above[i - step] : 0;
    const int predicted[5] = {0, left, up, (left + up) / 2, paeth(left, up, corner)};
    for (int f = 0; f < 5; ++f) {
      tried[f][i] = static_cast<std::uint8_t>(x - predicted[f]);
      cost[f] += std::abs(static_cast<int>(static_cast<std::int8_t>(tried[f][i])));
    }
  }
  int best = 0;
  for (int f = 1; f < 5; ++f)
    if (cost[f] < cost[best]) best = f;
  out.push_back(static_cast<std::uint8_t>(best));
  out.insert(out.end(), tried[best].begin(), tried[best].end());
}

std::string compressed(PngSize s, const std::uint8_t* pixels) {
  const int bytes = s.width * s.channels;
  std::vector<std::uint8_t> filtered;
  filtered.reserve(static_cast<std::size_t>(bytes + 1) * s.height);
  for (int y = 0; y < s.height; ++y) {
    const std::uint8_t* row = pixels + static_cast<std::size_t>(y) * bytes;
    filter_row(row, y > 0 ? row - bytes : nullptr, bytes, s.channels, filtered);
  }
  uLongf size = compressBound(static_cast<uLong>(filtered.size()));
  std::string out(size, '\0');
  const int rc =
      compress2(reinterpret_cast<Bytef*>(out.data()), &size, filtered.data(), static_cast<uLong>(filtered.size()), 6);
  MFL_CHECK(rc == Z_OK, "zlib could not compress ", filtered.size(), " bytes: ", zError(rc));
  out.resize(size);
  return out;
}

std::string header(PngSize s) {
  MFL_CHECK(s.width > 0 && s.height > 0, "a PNG of ", s.width, " x ", s.height, " pixels");
  MFL_CHECK(s.channels == 1 || s.channels == 3 || s.channels == 4, "a PNG of ", s.channels, " channels");
  std::string out = "\x89PNG\r\n\x1a\n", bytes;
  put_u32(bytes, static_cast<std::uint32_t>(s.width));
  put_u32(bytes, static_cast<std::uint32_t>(s.height));
  bytes += '\x08';                                                        // bits
  bytes += s.channels == 1 ? '\x00' : s.channels == 3 ? '\x02' : '\x06';  // colour type
  bytes += std::string(3, '\0');                                          // deflate, adaptive filters, no interlace
  put_chunk(out, "IHDR", bytes);
  return out;
}

}  // namespace

std::string encode_png(PngSize s, const std::uint8_t* pixels) {
  std::string out = header(s);
  put_chunk(out, "IDAT", compressed(s, pixels));
  put_chunk(out, "IEND", "");
  return out;
}

std::string encode_apng(PngSize s, std::span<const std::uint8_t* const> frames, int frames_per_second) {
  MFL_CHECK(!frames.empty() && frames_per_second > 0, "an animation of ", frames.size(), " frames at ",
            frames_per_second);
  std::string out = header(s), control;
  put_u32(control, static_cast<std::uint32_t>(frames.size()));
  put_u32(control, 0);  // repeats for ever
  put_chunk(out, "acTL", control);
  std::uint32_t sequence = 0;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    std::string frame;
    put_u32(frame, sequence++);
    put_u32(frame, static_cast<std::uint32_t>(s.width));
    put_u32(frame, static_cast<std::uint32_t>(s.height));
    put_u32(frame, 0);  // x
    put_u32(frame, 0);  // y
    put_u16(frame, 1);
    put_u16(frame, static_cast<std::uint32_t>(frames_per_second));
    frame += std::string(2, '\0');  // leave the canvas as it is; replace, do not blend
    put_chunk(out, "fcTL", frame);
    if (i == 0) {
      put_chunk(out, "IDAT", compressed(s, frames[i]));
    } else {
      std::string data;
      put_u32(data, sequence++);
      put_chunk(out, "fdAT", data + compressed(s, frames[i]));
    }
  }
  put_chunk(out, "IEND", "");
  return out;
}

void write_png(const std::filesystem::path& path, PngSize s, const std::uint8_t* pixels) {
  AtomicFile file(path);
  file.write(encode_png(s, pixels));
  file.commit();
}

}  // namespace mfl::io
