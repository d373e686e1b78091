// bf16 rounding by named hard case, and the generator against published vectors.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "runtime/rng.h"
#include "runtime/bf16.h"

namespace mfl {
namespace {

TEST(Bf16, RoundsToNearestTiesToEven) {
  EXPECT_EQ(bf16(1.0f).bits, 0x3f80);
  EXPECT_EQ(bf16(-0.0f).bits, 0x8000);
  EXPECT_EQ(bf16(std::bit_cast<float>(0x3f808000u)).bits, 0x3f80);   // tie: down to even
  EXPECT_EQ(bf16(std::bit_cast<float>(0x3f818000u)).bits, 0x3f82);   // tie: up to even
  EXPECT_EQ(bf16(std::bit_cast<float>(0x3f808001u)).bits, 0x3f81);
  EXPECT_EQ(bf16(std::numeric_limits<float>::max()).bits, 0x7f80);   // overflows to infinity
  EXPECT_EQ(bf16(std::numeric_limits<float>::infinity()).bits, 0x7f80);
  EXPECT_EQ(bf16(std::bit_cast<float>(0x00008000u)).bits, 0x0000);   // subnormal tie
  EXPECT_TRUE(std::isnan(float(bf16(std::bit_cast<float>(0x7f800001u)))));
}
// Known answers of Philox4x32-10 from the Random123 distribution.
TEST(Philox, MatchesThePublishedVectors) {
  const Philox4 zero = philox(0, 0, 0, 0, 0, 0);
  EXPECT_EQ(zero.v[0], 0x6627e8d5u);
  EXPECT_EQ(zero.v[1], 0xe169c58du);
  EXPECT_EQ(zero.v[2], 0xbc57ac4cu);
  EXPECT_EQ(zero.v[3], 0x9b00dbd8u);
  const Philox4 pi = philox(0xa4093822u, 0x299f31d0u, 0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u);
  EXPECT_EQ(pi.v[0], 0xd16cfe09u);
  EXPECT_EQ(pi.v[1], 0x94fdccebu);
  EXPECT_EQ(pi.v[2], 0x5001e420u);
  EXPECT_EQ(pi.v[3], 0x24126ea1u);
}
TEST(Rng, StreamsAndPurposesDiffer) {
  EXPECT_NE(Rng(1, Draw::init).bits_at(0), Rng(1, Draw::views).bits_at(0));
  EXPECT_NE(Rng(1, Draw::init, 0, 0).bits_at(0), Rng(1, Draw::init, 0, 1).bits_at(0));
  EXPECT_NE(Rng(1, Draw::init, 0).bits_at(0), Rng(1, Draw::init, 1).bits_at(0));
  EXPECT_NE(Rng(1, Draw::init).bits_at(0), Rng(2, Draw::init).bits_at(0));
}
TEST(Rng, NormalHasUnitVariance) {
  Rng rng(7, Draw::test);
  double sum = 0, square = 0;
  for (int i = 0; i < 100000; ++i) {
    const double x = rng.normal();
    sum += x, square += x * x;
  }
  EXPECT_NEAR(sum / 1e5, 0, 0.02);
  EXPECT_NEAR(square / 1e5, 1, 0.02);
}

}  // namespace
}  // namespace mfl
