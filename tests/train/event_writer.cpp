#include "train/event_writer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <sstream>
#include <vector>

namespace mfl {
namespace {
namespace fs = std::filesystem;

class Events : public ::testing::Test {
 protected:
  fs::path folder = fs::temp_directory_path() / ("mfl_events_" + std::to_string(::getpid()));
  void TearDown() override { fs::remove_all(folder); }
};

template <class T>
T little(const std::string& s, std::size_t at) {
  T x;
  std::memcpy(&x, s.data() + at, sizeof x);
  return x;
}

// The messages of a file, both check sums of every record verified.
std::vector<std::string> records(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream content;
  content << in.rdbuf();
  const std::string s = content.str();
  std::vector<std::string> out;
  for (std::size_t at = 0; at < s.size();) {
    const auto size = little<std::uint64_t>(s, at);
    EXPECT_EQ(little<std::uint32_t>(s, at + 8), masked_crc32c(s.substr(at, 8)));
    out.push_back(s.substr(at + 12, size));
    EXPECT_EQ(little<std::uint32_t>(s, at + 12 + size), masked_crc32c(out.back()));
    at += 16 + size;
  }
  return out;
}

TEST_F(Events, TheCheckSumIsCastagnolis) {
  // CRC-32C of "123456789" is 0xE3069283 (RFC 3720, appendix B.4 uses the same polynomial).
  const std::uint32_t crc = 0xE3069283u;
  EXPECT_EQ(masked_crc32c("123456789"), ((crc >> 15) | (crc << 17)) + 0xa282ead8u);
}

TEST_F(Events, AScalarIsTheseBytes) {
  EventWriter w(folder / "new");
  w.scalar("a/b", 300, 0.5);
  w.flush();
  const auto r = records(w.path());
  ASSERT_EQ(r.size(), 2u);
  EXPECT_NE(r[0].find("brain.Event:2"), std::string::npos);
  // After key and 8 bytes of wall time: step = 300 as a varint; summary { value { tag "a/b", simple_value 0.5 } }.
  EXPECT_EQ(r[1].substr(9), std::string("\x10\xac\x02\x2a\x0c\x0a\x0a\x0a\x03"
                                        "a/b\x15\x00\x00\x00\x3f",
                                        17));
}

TEST_F(Events, ImagesAndTextsAreWholeRecords) {
  EventWriter w(folder);
  const std::string png(100000, 'x');
  w.image("panel", 1, 640, 480, png);
  w.text("config", 1, "| a | b |");
  w.flush();
  const auto r = records(w.path());
  ASSERT_EQ(r.size(), 3u);
  EXPECT_NE(r[1].find(png), std::string::npos);
  EXPECT_NE(r[2].find("| a | b |"), std::string::npos);
}

TEST_F(Events, AFolderThatCannotBeWrittenStopsNothing) {
  fs::create_directories(folder);
  std::ofstream(folder / "file") << "in the way";
  EventWriter w(folder / "file" / "events");
  EXPECT_FALSE(w.writing());
  w.scalar("a", 1, 1);
  EventWriter nobody;
  nobody.scalar("a", 1, 1);
  EXPECT_FALSE(nobody.writing());
}

}  // namespace
}  // namespace mfl
