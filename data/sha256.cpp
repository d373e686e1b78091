#include "data/sha256.h"

#include <algorithm>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace mfl::data {
namespace {
// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
constexpr std::uint32_t kRound[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
    0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
    0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
    0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
std::uint32_t big_endian(const std::uint8_t* p) {
  return std::uint32_t{p[0]} << 24 | std::uint32_t{p[1]} << 16 | std::uint32_t{p[2]} << 8 | p[3];
}

#if defined(__x86_64__)
bool has_instructions() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1) && __builtin_cpu_supports("sse4.1");
}
// One block by the processor's own rounds. Its registers hold the state as (a, b, e, f) and (c, d, g, h), first word highest.
// Measured, one busy EPYC core: six times the portable rounds, 680 MB/s against 113.
__attribute__((target("sha,sse4.1"))) void block_by_instructions(const std::uint8_t* p, std::array<std::uint32_t, 8>& h) {
  const __m128i bytes = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);   // big-endian words
  __m128i w[16];   // w[i]: words 4 i to 4 i + 3 of the schedule
  for (int i = 0; i < 4; ++i) w[i] = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p) + i), bytes);
  for (int i = 4; i < 16; ++i)
    w[i] = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(w[i - 4], w[i - 3]), _mm_alignr_epi8(w[i - 1], w[i - 2], 4)), w[i - 1]);
  const auto word = [&](int i) { return static_cast<int>(h[static_cast<std::size_t>(i)]); };
  const __m128i before_abef = _mm_set_epi32(word(0), word(1), word(4), word(5)), before_cdgh = _mm_set_epi32(word(2), word(3), word(6), word(7));
  __m128i abef = before_abef, cdgh = before_cdgh;
  for (int i = 0; i < 16; ++i) {   // two rounds a call; what was (a, b, e, f) is (c, d, g, h) after them
    const __m128i t = _mm_add_epi32(w[i], _mm_loadu_si128(reinterpret_cast<const __m128i*>(kRound) + i));
    cdgh = _mm_sha256rnds2_epu32(cdgh, abef, t);
    abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(t, 0x0e));
  }
  std::uint32_t x[4], y[4];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(x), _mm_add_epi32(abef, before_abef));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(y), _mm_add_epi32(cdgh, before_cdgh));
  h = {x[3], x[2], y[3], y[2], x[1], x[0], y[1], y[0]};
}
#else
bool has_instructions() { return false; }
void block_by_instructions(const std::uint8_t*, std::array<std::uint32_t, 8>&) {}
#endif
}  // namespace

Sha256::Sha256(bool portable) {
  static const bool there = has_instructions();   // asking is slow in a virtual machine
  instructions_ = !portable && there;
}

void Sha256::block(const std::uint8_t* p) {
  if (instructions_) return block_by_instructions(p, h_);
  std::uint32_t w[64];
  for (int i = 0; i < 16; ++i) w[i] = big_endian(p + 4 * i);
  for (int i = 16; i < 64; ++i) {
    const std::uint32_t s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
    const std::uint32_t s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  auto [a, b, c, d, e, f, g, h] = h_;
  for (int i = 0; i < 64; ++i) {
    const std::uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25), choose = (e & f) ^ (~e & g);
    const std::uint32_t t1 = h + s1 + choose + kRound[i] + w[i];
    const std::uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22), major = (a & b) ^ (a & c) ^ (b & c);
    h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + s0 + major;
  }
  const std::uint32_t v[8] = {a, b, c, d, e, f, g, h};
  for (int i = 0; i < 8; ++i) h_[i] += v[i];
}

Sha256& Sha256::add(const void* bytes, std::size_t count) {
  const auto* p = static_cast<const std::uint8_t*>(bytes);
  total_ += count;
  if (held_) {
    const std::size_t n = std::min(count, 64 - held_);
    std::memcpy(tail_ + held_, p, n);
    held_ += n, p += n, count -= n;
    if (held_ < 64) return *this;
    block(tail_);
    held_ = 0;
  }
  for (; count >= 64; p += 64, count -= 64) block(p);
  if (count) std::memcpy(tail_, p, count);
  held_ = count;
  return *this;
}

std::array<std::uint8_t, 32> Sha256::finish() {
  const std::uint64_t bits = total_ * 8;
  const std::uint8_t one = 0x80, zero = 0;
  add(&one, 1);
  while (held_ != 56) add(&zero, 1);
  std::uint8_t length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<std::uint8_t>(bits >> (56 - 8 * i));
  add(length, 8);
  std::array<std::uint8_t, 32> out;
  for (int i = 0; i < 32; ++i) out[i] = static_cast<std::uint8_t>(h_[i / 4] >> (24 - 8 * (i % 4)));
  return out;
}

std::string hex(const std::array<std::uint8_t, 32>& hash) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string s;
  for (std::uint8_t b : hash) s += kDigits[b >> 4], s += kDigits[b & 15];
  return s;
}

}  // namespace mfl::data
