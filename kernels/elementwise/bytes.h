// Images between real numbers in [0, 1] and bytes.
//   to_bytes:    y = floor(255 x), x clamped to [0, 1]: truncation, as the published pipeline takes tensors; or, `round`,
//                the nearest byte (ties to even), as it gives pictures out.
//   from_bytes:  y = x / 255.
#pragma once

#include "runtime/context.h"

namespace mfl {

struct ToBytes {
  ConstView x;         // any shape, f64 | f32
  bool round = false;
  View y;              // the same shape, u8; out
};
void to_bytes(const Stream&, const ToBytes&);

struct FromBytes {
  ConstView x;         // any shape, u8
  View y;              // the same shape, f64 | f32; out
};
void from_bytes(const Stream&, const FromBytes&);

namespace cpu {
void to_bytes(const ToBytes&);
void from_bytes(const FromBytes&);
}  // namespace cpu
namespace cuda {
void to_bytes(const Stream&, const ToBytes&);
void from_bytes(const Stream&, const FromBytes&);
}  // namespace cuda

}  // namespace mfl
