#include "train/finite.h"

#include <algorithm>

namespace mfl {
namespace {

// An exponent of ones is an infinity or no number. Blocks, so that the count is a loop without a branch.
template <class Bits>
std::int64_t first(const Bits* x, std::int64_t n, Bits exponent) {
  constexpr std::int64_t kBlock = 4096;
  for (std::int64_t at = 0; at < n; at += kBlock) {
    const std::int64_t end = std::min(n, at + kBlock);
    Bits bad = 0;
    for (std::int64_t i = at; i < end; ++i) bad = Bits(bad + Bits((x[i] & exponent) == exponent));
    if (bad == 0) continue;
    for (std::int64_t i = at; i < end; ++i)
      if ((x[i] & exponent) == exponent) return i;
  }
  return -1;
}

}  // namespace

std::int64_t first_non_finite(ConstView v) {
  switch (v.dtype) {
    case DType::f64: return first(static_cast<const std::uint64_t*>(v.data), v.numel(), std::uint64_t{0x7ff0000000000000});
    case DType::f32: return first(static_cast<const std::uint32_t*>(v.data), v.numel(), std::uint32_t{0x7f800000});
    case DType::bf16: return first(static_cast<const std::uint16_t*>(v.data), v.numel(), std::uint16_t{0x7f80});
    default: return -1;
  }
}

}  // namespace mfl
