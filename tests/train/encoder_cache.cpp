// Encoded images: once per distinct image, the same bits from the cache as from the networks, in memory and on disk.
#include "train/mvdiffusion/encoder_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "models/mvdiffusion/tiny_pipeline.h"
#include "runtime/rng.h"
#include "tests/support/temp_folder.h"

namespace mfl {
namespace {

namespace fs = std::filesystem;
using mvdiffusion::Encoders;
using test::TempFolder;
using Part = EncoderCache::Part;
constexpr std::int64_t kSide = 8;

data::Hash hash_of(std::uint8_t n) {
  data::Hash h{};
  h[0] = n;
  return encoder_key(h, kSide, {1, 1, 1});
}

struct Bench {
  TempFolder folder;
  Stream s = Stream::create(kCpu, "test");
  Arena weights{kCpu, std::size_t{1} << 30, "weights"}, arena{kCpu, std::size_t{1} << 30, "step"};
  std::unique_ptr<Encoders> encoders;
  Ctx cx;
  explicit Bench(DType compute) : cx{.stream = s, .arena = arena, .precision = Precision::of(compute), .saving = false} {
    mvdiffusion::write_tiny_pipeline(folder / "p", {.image = kSide});
    encoders = std::make_unique<Encoders>(mvdiffusion::PipelineFiles(folder / "p"), s, weights, compute);
    encoders->load(s);
  }
  // Image i is picture numbers[i].
  Tensor images(const std::vector<std::uint32_t>& numbers) {
    Tensor t = arena.empty({std::int64_t(numbers.size()), kSide, kSide, 3}, DType::f32);
    const std::int64_t size = kSide * kSide * 3;
    for (std::size_t n = 0; n < numbers.size(); ++n)
      for (std::int64_t i = 0; i < size; ++i)
        t.data<float>()[std::int64_t(n) * size + i] = Rng(1, Draw::test, 0, numbers[n]).uniform_at(std::uint64_t(i));
    return t;
  }
};
bool same(const Tensor& a, const Tensor& b) { return a.shape() == b.shape() && std::memcmp(a.view().data, b.view().data, a.bytes()) == 0; }

TEST(EncoderCache, EveryDistinctImageIsEncodedOnce) {
  Bench b(DType::f32);
  StepEncoder encoder(*b.encoders, nullptr, 2);
  const Tensor images = b.images({0, 1, 0, 2, 1, 0});
  std::vector<StepImage> list;
  for (int n : {0, 1, 0, 2, 1, 0}) list.push_back({.key = hash_of(std::uint8_t(n)), .embedding = n == 1});
  const auto out = encoder.run(b.cx, list, images, kSide);
  EXPECT_EQ(encoder.encoded(), 3);
  EXPECT_TRUE(same(out.moments, b.encoders->moments(b.cx, images)));
  const Tensor embeddings = b.encoders->embeddings(b.cx, images);
  for (std::int64_t i = 0; i < 6; ++i) {
    if (list[std::size_t(i)].embedding) EXPECT_TRUE(same(out.embeddings.rows(i, 1), embeddings.rows(i, 1))) << i;
    else EXPECT_EQ(out.embeddings.rows(i, 1).data<float>()[3], 0) << i;
  }
  // Without keys every image is its own.
  for (StepImage& i : list) i.key.reset();
  EXPECT_TRUE(same(encoder.run(b.cx, list, images, kSide).moments, out.moments));
  EXPECT_EQ(encoder.encoded(), 9);
}

class CachedBits : public ::testing::TestWithParam<DType> {};
TEST_P(CachedBits, AreThoseOfTheNetworks) {
  Bench b(GetParam());
  const Tensor images = b.images({0, 1, 2});
  const std::vector<StepImage> fresh = {{.key = hash_of(0), .embedding = true}, {.key = hash_of(1)}, {.embedding = true}};
  StepEncoder::Encoded first;
  {
    EncoderCache cache(*b.encoders, {.folder = b.folder / "cache"});
    EXPECT_FALSE(cache.find(hash_of(0), Part::moments));
    StepEncoder encoder(*b.encoders, &cache);
    first = encoder.run(b.cx, fresh, images, kSide);
    EXPECT_EQ(cache.held_bytes(), 0u);   // on their way: the step does not wait for them
    encoder.keep();
    EXPECT_TRUE(cache.find(hash_of(1), Part::moments));
    EXPECT_FALSE(cache.find(hash_of(1), Part::embedding));
    EXPECT_EQ(cache.counts().hits, 1);
    EXPECT_EQ(cache.counts().misses, 2);
    // The next step gives them too; and the end of the encoder, what the last step found.
    const std::vector<StepImage> third = {{.key = hash_of(3)}}, fourth = {{.key = hash_of(4)}};
    {
      StepEncoder other(*b.encoders, &cache);
      other.run(b.cx, third, images.rows(2, 1), kSide);
      const std::size_t before = cache.held_bytes();
      other.run(b.cx, fourth, images.rows(2, 1), kSide);
      EXPECT_GT(cache.held_bytes(), before);
    }
    const EncoderCache::Bytes a = cache.find(hash_of(3), Part::moments), c = cache.find(hash_of(4), Part::moments);
    ASSERT_TRUE(a && c);
    EXPECT_EQ(*a, *c);
  }
  EncoderCache later(*b.encoders, {.folder = b.folder / "cache"});   // another run
  std::vector<StepImage> known = {{.key = hash_of(0), .embedding = true}, {.key = hash_of(1)}};
  for (StepImage& i : known) {
    i.known_moments = later.find(*i.key, Part::moments);
    if (i.embedding) i.known_embedding = later.find(*i.key, Part::embedding);
    EXPECT_FALSE(i.needs_pixels());
  }
  StepEncoder encoder(*b.encoders, &later);
  for (int again = 0; again < 2; ++again) {
    const auto out = encoder.run(b.cx, known, {}, kSide);
    EXPECT_TRUE(same(out.moments, first.moments.rows(0, 2)));
    EXPECT_TRUE(same(out.embeddings.rows(0, 1), first.embeddings.rows(0, 1)));
  }
  EXPECT_EQ(encoder.encoded(), 0);
  EXPECT_THROW(encoder.run(b.cx, fresh, {}, kSide), Error);
}
INSTANTIATE_TEST_SUITE_P(EncoderCache, CachedBits, ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& i) { return i.param == DType::f32 ? "F32" : "Bf16"; });

TEST(EncoderCache, DamagedFilesAreMadeAgainAndMemoryIsBounded) {
  Bench b(DType::f32);
  const auto bytes = std::make_shared<const std::vector<std::byte>>(1000, std::byte{7});
  EncoderCache cache(*b.encoders, {.folder = b.folder / "cache", .memory_bytes = 2500});
  for (std::uint8_t n = 0; n < 4; ++n) cache.put(hash_of(n), Part::moments, bytes);
  EXPECT_EQ(cache.held_bytes(), 2000u);
  EXPECT_TRUE(cache.find(hash_of(0), Part::moments));   // from disk
  int files = 0;
  for (const auto& file : fs::recursive_directory_iterator(b.folder / "cache"))
    if (file.is_regular_file()) {
      std::fstream f(file.path(), std::ios::in | std::ios::out | std::ios::binary);
      f.seekp(17);
      f.put(8);
      ++files;
    }
  EXPECT_EQ(files, 4);
  EncoderCache later(*b.encoders, {.folder = b.folder / "cache"});
  EXPECT_FALSE(later.find(hash_of(0), Part::moments));
  later.put(hash_of(0), Part::moments, bytes);
  EXPECT_TRUE(EncoderCache(*b.encoders, {.folder = b.folder / "cache"}).find(hash_of(0), Part::moments));
  // Other encoders do not see these results.
  const Encoders other(mvdiffusion::PipelineFiles(b.folder / "p"), b.s, b.weights, DType::bf16);
  EXPECT_FALSE(EncoderCache(other, {.folder = b.folder / "cache"}).find(hash_of(0), Part::moments));
}

TEST(EncoderCache, KeysTellWhatWasDoneToThePixels) {
  const data::Hash pixels{};
  EXPECT_EQ(encoder_key(pixels, 512, {1, 1, 1}), encoder_key(pixels, 512, {1, 1, 1}));
  EXPECT_NE(encoder_key(pixels, 512, {1, 1, 1}), encoder_key(pixels, 256, {1, 1, 1}));
  EXPECT_NE(encoder_key(pixels, 512, {1, 1, 1}), encoder_key(pixels, 512, {1, 1, 0}));
}

}  // namespace
}  // namespace mfl
