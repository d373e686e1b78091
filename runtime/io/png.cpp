#include "runtime/io/png.h"

#include <libdeflate.h>

#include <cstdlib>
#include <cstring>
#include <limits>
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
  put_u32(out, libdeflate_crc32(0, out.data() + from, out.size() - from));
}

int paeth(int left, int up, int corner) {
  const int p = left + up - corner;
  const int dl = std::abs(p - left), du = std::abs(p - up), dc = std::abs(p - corner);
  return dl <= du && dl <= dc ? left : du <= dc ? up : corner;
}

// One row through one filter, predicted(left, up, corner) taken off every byte; the sum of |signed residual|. `row` and `above`
// have `step` zeros before their first byte.
template <class Predict>
long filtered(const std::uint8_t* row, const std::uint8_t* above, int bytes, int step, std::uint8_t* out, Predict predicted) {
  int cost = 0;
  for (int i = 0; i < bytes; ++i) {
    const auto d = static_cast<std::int8_t>(row[i] - predicted(row[i - step], above[i], above[i - step]));
    out[i] = static_cast<std::uint8_t>(d);
    cost += d < 0 ? -d : d;
  }
  return cost;
}

// Every row by that of the five filters whose sum is smallest: the heuristic that the standard recommends. Measured, 512 x 512 RGB
// of noise on a smooth ground, one EPYC core: 33 ms, deflating included; all filters in one loop, and zlib, took 84 ms.
std::vector<std::uint8_t> filtered_rows(PngSize s, const std::uint8_t* pixels) {
  const int bytes = s.width * s.channels, step = s.channels;
  std::vector<std::uint8_t> out, one(static_cast<std::size_t>(step + bytes)), other(one.size()), best(static_cast<std::size_t>(bytes)), tried(best.size());
  out.reserve(static_cast<std::size_t>(bytes + 1) * s.height);
  std::uint8_t *above = one.data() + step, *row = other.data() + step;   // zeros above the first row
  for (int y = 0; y < s.height; ++y, std::swap(above, row)) {
    std::memcpy(row, pixels + static_cast<std::size_t>(y) * bytes, static_cast<std::size_t>(bytes));
    long least = std::numeric_limits<long>::max();
    int chosen = 0;
    const auto attempt = [&](int filter, auto predicted) {
      const long cost = filtered(row, above, bytes, step, tried.data(), predicted);
      if (cost >= least) return;
      least = cost, chosen = filter;
      std::swap(best, tried);
    };
    attempt(0, [](int, int, int) { return 0; });
    attempt(1, [](int left, int, int) { return left; });
    attempt(2, [](int, int up, int) { return up; });
    attempt(3, [](int left, int up, int) { return (left + up) / 2; });
    attempt(4, paeth);
    out.push_back(static_cast<std::uint8_t>(chosen));
    out.insert(out.end(), best.begin(), best.end());
  }
  return out;
}

std::string compressed(PngSize s, const std::uint8_t* pixels) {
  constexpr int kLevel = 6;
  const std::vector<std::uint8_t> rows = filtered_rows(s, pixels);
  struct Compressor {
    libdeflate_compressor* it = libdeflate_alloc_compressor(kLevel);
    ~Compressor() { libdeflate_free_compressor(it); }
  } compressor;
  MFL_CHECK(compressor.it, "PNG: no memory for the compressor");
  std::string out(libdeflate_zlib_compress_bound(compressor.it, rows.size()), '\0');
  out.resize(libdeflate_zlib_compress(compressor.it, rows.data(), rows.size(), out.data(), out.size()));
  MFL_CHECK(!out.empty(), "PNG: ", rows.size(), " bytes did not fit their bound");
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
