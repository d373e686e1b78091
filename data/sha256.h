// SHA-256 (FIPS 180-4): pixel and content hashes of packed files, names of cached ones, checkpoints in a provenance. Processors with
// SHA instructions (AMD since Zen, Intel since Ice Lake) use them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mfl::data {

class Sha256 {
 public:
  // `portable`: without those instructions.
  explicit Sha256(bool portable = false);
  Sha256& add(const void* bytes, std::size_t count);
  Sha256& add(std::string_view s) { return add(s.data(), s.size()); }
  std::array<std::uint8_t, 32> finish();

 private:
  void block(const std::uint8_t*);
  bool instructions_;
  std::array<std::uint32_t, 8> h_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::uint8_t tail_[64];
  std::size_t held_ = 0;
  std::uint64_t total_ = 0;
};

std::string hex(const std::array<std::uint8_t, 32>&);

}  // namespace mfl::data
