#include "runtime/io/png.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdlib>
#include <vector>

namespace mfl::io {
namespace {

std::uint32_t u32(const std::string& s, std::size_t at) {
  std::uint32_t x = 0;
  for (int i = 0; i < 4; ++i) x = x << 8 | static_cast<std::uint8_t>(s[at + i]);
  return x;
}

// The chunks of a file, their check sums verified.
std::vector<std::pair<std::string, std::string>> chunks(const std::string& png) {
  EXPECT_EQ(png.substr(0, 8), "\x89PNG\r\n\x1a\n");
  std::vector<std::pair<std::string, std::string>> out;
  for (std::size_t at = 8; at < png.size();) {
    const std::uint32_t size = u32(png, at);
    out.emplace_back(png.substr(at + 4, 4), png.substr(at + 8, size));
    const auto* summed = reinterpret_cast<const Bytef*>(png.data() + at + 4);
    EXPECT_EQ(u32(png, at + 8 + size), crc32(0, summed, size + 4)) << out.back().first;
    at += 12 + size;
  }
  return out;
}

// Inflates and undoes the row filters, by the standard's formulas.
std::vector<std::uint8_t> pixels(const std::string& data, PngSize s) {
  const int bytes = s.width * s.channels;
  std::vector<std::uint8_t> raw(static_cast<std::size_t>(bytes + 1) * s.height), out;
  uLongf size = raw.size();
  EXPECT_EQ(uncompress(raw.data(), &size, reinterpret_cast<const Bytef*>(data.data()), data.size()), Z_OK);
  EXPECT_EQ(size, raw.size());
  out.resize(static_cast<std::size_t>(bytes) * s.height);
  for (int y = 0; y < s.height; ++y)
    for (int i = 0; i < bytes; ++i) {
      const int filter = raw[static_cast<std::size_t>(y) * (bytes + 1)],
                x = raw[static_cast<std::size_t>(y) * (bytes + 1) + 1 + i];
      const std::size_t at = static_cast<std::size_t>(y) * bytes + i;
      const int a = i >= s.channels ? out[at - s.channels] : 0, b = y > 0 ? out[at - bytes] : 0;
      const int c = i >= s.channels && y > 0 ? out[at - bytes - s.channels] : 0;
      const int p = a + b - c, pa = std::abs(p - a), pb = std::abs(p - b), pc = std::abs(p - c);
      const int predicted[] = {0, a, b, (a + b) / 2, pa <= pb && pa <= pc ? a : pb <= pc ? b : c};
      out[at] = static_cast<std::uint8_t>(x + predicted[filter]);
    }
  return out;
}

std::vector<std::uint8_t> pattern(PngSize s, int seed) {
  std::vector<std::uint8_t> p(static_cast<std::size_t>(s.width) * s.height * s.channels);
  for (std::size_t i = 0; i < p.size(); ++i)
    p[i] = static_cast<std::uint8_t>(i % 7 == 0 ? i * 37 + seed : i / 3 + seed);
  return p;
}

TEST(Png, PixelsComeBack) {
  for (const int channels : {1, 3, 4}) {
    const PngSize s{13, 9, channels};
    const auto in = pattern(s, channels);
    const auto file = chunks(encode_png(s, in.data()));
    ASSERT_EQ(file.size(), 3u);
    EXPECT_EQ(u32(file[0].second, 0), 13u);
    EXPECT_EQ(u32(file[0].second, 4), 9u);
    EXPECT_EQ(pixels(file[1].second, s), in) << channels << " channels";
    EXPECT_EQ(file[2].first, "IEND");
  }
}

TEST(Png, AnAnimationHoldsEveryFrame) {
  const PngSize s{5, 4, 3};
  const auto a = pattern(s, 1), b = pattern(s, 2);
  const std::uint8_t* frames[] = {a.data(), b.data()};
  const auto file = chunks(encode_apng(s, frames, 25));
  std::string order;
  for (const auto& c : file) order += c.first + " ";
  EXPECT_EQ(order, "IHDR acTL fcTL IDAT fcTL fdAT IEND ");
  EXPECT_EQ(u32(file[1].second, 0), 2u);
  EXPECT_EQ(pixels(file[3].second, s), a);
  EXPECT_EQ(u32(file[5].second, 0), 2u);  // sequence: fcTL 0, fcTL 1, fdAT 2
  EXPECT_EQ(pixels(file[5].second.substr(4), s), b);
}

}  // namespace
}  // namespace mfl::io
