// Philox4x32-10, a counter-based generator: the same on CPU and GPU, no state to save.
// Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
//
// A draw is a pure function of (seed, purpose, step, stream, element): nothing that is drawn depends on the number of
// workers or on the order of evaluation.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define MFL_HD __host__ __device__
#else
#define MFL_HD
#endif

namespace mfl {

// What a draw is for. Part of the key: two purposes never share numbers. Append only; stored runs depend on the values.
enum class Draw : std::uint32_t { init = 1, sample_order = 2, views = 3, background = 4, augment = 5, test = 6, noise = 7, scene = 8,
                                 posterior = 9, diffusion = 10, timestep = 11, drop = 12, embedding = 13, sampler = 14, crop = 15 };

struct Philox4 {
  std::uint32_t v[4];
};

MFL_HD inline Philox4 philox(std::uint32_t k0, std::uint32_t k1, std::uint32_t c0, std::uint32_t c1, std::uint32_t c2,
                             std::uint32_t c3) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c0;
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * c2;
    const std::uint32_t n0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const std::uint32_t n2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<std::uint32_t>(p1);
    c3 = static_cast<std::uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// Uniform in [0, 1): 24 bits, exact in f32.
MFL_HD inline float uniform_of(std::uint32_t bits) { return static_cast<float>(bits >> 8) * (1.0f / 16777216.0f); }

// A stream of draws for one (seed, purpose, step, stream).
class Rng {
 public:
  Rng(std::uint64_t seed, Draw purpose, std::uint64_t step = 0, std::uint32_t stream = 0)
      : k0_(static_cast<std::uint32_t>(seed)),
        k1_(static_cast<std::uint32_t>(seed >> 32) ^ (static_cast<std::uint32_t>(purpose) * 0x9E3779B9u)),
        step_(step), stream_(stream) {}

  // Element i of the stream, at random access.
  std::uint32_t bits_at(std::uint64_t i) const {
    const std::uint64_t block = i / 4;
    return philox(k0_, k1_, static_cast<std::uint32_t>(block),
                  static_cast<std::uint32_t>(block >> 32) ^ static_cast<std::uint32_t>(step_ >> 32) * 0x85EBCA77u,
                  static_cast<std::uint32_t>(step_), stream_)
        .v[i % 4];
  }
  float uniform_at(std::uint64_t i) const { return uniform_of(bits_at(i)); }
  // Box-Muller on elements 2i and 2i+1, in f64.
  double normal_at(std::uint64_t i) const {
    const double u = (bits_at(2 * i) + 1.0) / 4294967296.0, v = bits_at(2 * i + 1) / 4294967296.0;
    return std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586476925 * v);
  }

  // The same, in sequence.
  std::uint32_t bits() { return bits_at(next_++); }
  float uniform() { return uniform_of(bits()); }
  double uniform(double lo, double hi) { return lo + (hi - lo) * (bits() / 4294967296.0); }
  // Uniform integer in [0, n), without bias to speak of: n is far below 2^32.
  std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>((std::uint64_t{bits()} * n) >> 32); }
  double normal() {
    next_ += next_ & 1;
    const double x = normal_at(next_ / 2);
    next_ += 2;
    return x;
  }

 private:
  std::uint32_t k0_, k1_;
  std::uint64_t step_;
  std::uint32_t stream_;
  std::uint64_t next_ = 0;
};

}  // namespace mfl
