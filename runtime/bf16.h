// bfloat16 storage type for host code, and the conversion that the device uses too: round to nearest, ties to even;
// NaN stays NaN (quiet). Arithmetic happens in float or double; bf16 only stores.
#pragma once

#include <bit>
#include <cstdint>

namespace mfl {

struct bf16 {
  std::uint16_t bits = 0;

  bf16() = default;
  explicit bf16(float x) {
    std::uint32_t u = std::bit_cast<std::uint32_t>(x);
    if ((u & 0x7fffffffu) > 0x7f800000u) {
      bits = static_cast<std::uint16_t>((u >> 16) | 0x0040u);
    } else {
      u += 0x7fffu + ((u >> 16) & 1u);
      bits = static_cast<std::uint16_t>(u >> 16);
    }
  }
  // Via float: double -> float -> bf16 rounds twice. A value computed in f64 and stored through float is what a kernel
  // with f32 registers does, so the oracle does the same.
  explicit bf16(double x) : bf16(static_cast<float>(x)) {}
  operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
};
static_assert(sizeof(bf16) == 2);

}  // namespace mfl
