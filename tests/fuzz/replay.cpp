// The corpus of malformed files through the readers, and small mutations of good ones: every answer is a DataError, and
// no reader asks for memory that the file does not explain.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <new>
#include <string>
#include <vector>

#include "runtime/rng.h"
#include "tests/fuzz/targets.h"

namespace {
std::atomic<std::size_t> largest_request{0};
}
// Every allocation of this program passes here.
void* operator new(std::size_t bytes) {
  largest_request = std::max(largest_request.load(), bytes);
  if (void* p = std::malloc(bytes ? bytes : 1)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace mfl::fuzz {
namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<std::byte>;
struct Reader {
  const char* name;
  bool (*read)(std::span<const std::byte>);
};
constexpr Reader kReaders[] = {
    {"diffusers_config", diffusers_config}, {"event_file", event_file},         {"gslrm_config", gslrm_config},
    {"image_file", image_file},             {"mat_file", mat_file},             {"new_cam", new_cam},               {"opencv_cameras", opencv_cameras},
    {"packed_file", packed_file},           {"pickle", pickle},                 {"ply", ply},
    {"safetensors", safetensors},           {"sample_files", sample_files},     {"splat_file", splat_file},
    {"spz", spz},                           {"torch_file", torch_file},
    {"vertical_lines", vertical_lines},     {"video", video},
};

Bytes contents(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string s{std::istreambuf_iterator<char>(in), {}};
  const auto b = std::as_bytes(std::span(s));
  return {b.begin(), b.end()};
}
std::vector<fs::path> files(const fs::path& folder) {
  std::vector<fs::path> all;
  for (const auto& f : fs::directory_iterator(folder)) all.push_back(f.path());
  std::sort(all.begin(), all.end());
  return all;
}
// Bytes in memory may be several times those in the file: a node of the tree for an opcode, a deflated entry unpacked.
std::size_t explained(std::size_t file_bytes) { return (std::size_t{1} << 20) + 2048 * file_bytes; }

TEST(Malformed, EveryFileOfTheCorpusIsRefusedAndEveryGoodOneIsRead) {
  const fs::path corpus = fs::path(MFL_SOURCE_DIR) / "tests/fuzz/corpus";
  for (const Reader& r : kReaders)
    for (const fs::path& path : files(corpus / r.name)) {
      const Bytes bytes = contents(path);
      const bool good = path.filename().string().starts_with("good");
      largest_request = 0;
      EXPECT_NO_THROW(EXPECT_EQ(r.read(bytes), good) << path) << path;
      EXPECT_LE(largest_request, explained(bytes.size())) << path;
    }
  for (const fs::path& folder : files(corpus))
    EXPECT_TRUE(std::any_of(std::begin(kReaders), std::end(kReaders), [&](const Reader& r) { return folder.filename() == r.name; })) << folder;
}

TEST(Malformed, MutationsOfGoodFilesAreReadOrRefused) {
  const fs::path good = fs::path(MFL_SOURCE_DIR) / "tests/golden";
  std::vector<fs::path> all = files(good / "torch");
  for (const fs::path& p : files(good / "new_cam")) all.push_back(p);
  for (const fs::path& path : all) {
    const bool is_pickle = path.extension() == ".pkl";
    if (!is_pickle && path.extension() != ".pt") continue;
    const Bytes original = contents(path);
    Rng rng(11, Draw::test, std::hash<std::string>{}(path.filename().string()));
    for (int round = 0; round < 300; ++round) {
      Bytes bytes = original;
      for (std::uint32_t n = 1 + rng.below(4); n-- > 0;) {
        const std::uint32_t at = rng.below(static_cast<std::uint32_t>(bytes.size()));
        switch (rng.below(3)) {
          case 0:
            bytes[at] = static_cast<std::byte>(rng.below(256));
            break;
          case 1:
            bytes[at] ^= static_cast<std::byte>(1u << rng.below(8));
            break;
          default:
            bytes.erase(bytes.begin() + at);
            break;
        }
      }
      largest_request = 0;
      EXPECT_NO_THROW(is_pickle ? pickle(bytes) : torch_file(bytes)) << path << ", round " << round;
      EXPECT_LE(largest_request, explained(bytes.size())) << path << ", round " << round;
    }
  }
}

}  // namespace
}  // namespace mfl::fuzz
