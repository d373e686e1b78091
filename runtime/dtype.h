// Element types of tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ostream>

#include "runtime/bf16.h"
#include "runtime/error.h"

namespace mfl {

// Kernels compute on f64 (CPU only), f32 and bf16; f16 exists only inside foreign files.
enum class DType : std::uint8_t { f64, f32, bf16, f16, i64, i32, u8 };

constexpr std::size_t size_of(DType t) {
  switch (t) {
    case DType::f64: case DType::i64: return 8;
    case DType::f32: case DType::i32: return 4;
    case DType::bf16: case DType::f16: return 2;
    case DType::u8: return 1;
  }
  return 0;
}
constexpr const char* name_of(DType t) {
  switch (t) {
    case DType::f64: return "f64";
    case DType::f32: return "f32";
    case DType::bf16: return "bf16";
    case DType::f16: return "f16";
    case DType::i64: return "i64";
    case DType::i32: return "i32";
    case DType::u8: return "u8";
  }
  return "?";
}
inline std::ostream& operator<<(std::ostream& out, DType t) { return out << name_of(t); }

template <class T> struct dtype_of;
template <> struct dtype_of<double> { static constexpr DType value = DType::f64; };
template <> struct dtype_of<float> { static constexpr DType value = DType::f32; };
template <> struct dtype_of<bf16> { static constexpr DType value = DType::bf16; };
template <> struct dtype_of<std::int64_t> { static constexpr DType value = DType::i64; };
template <> struct dtype_of<std::int32_t> { static constexpr DType value = DType::i32; };
template <> struct dtype_of<std::uint32_t> { static constexpr DType value = DType::i32; };
template <> struct dtype_of<std::uint8_t> { static constexpr DType value = DType::u8; };

// Precision of a whole model. `compute` is the type of matrix products and of the activations between them; `accum` is
// the type of the residual stream, statistics, losses, parameters' masters and gradients.
struct Precision {
  DType compute = DType::f32;
  DType accum = DType::f32;
  static Precision of(DType compute) { return {compute, compute == DType::f64 ? DType::f64 : DType::f32}; }
};

}  // namespace mfl
