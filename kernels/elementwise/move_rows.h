// y = x or y += x between matrices whose rows lie apart: the channels of a concatenation, the first view of every object.
//
//   R rows of C contiguous values; each matrix has a row stride of its own. One dtype, f64 | f32 | bf16. x and y do not
//   overlap. Sums in f32 (f64 for f64).
#pragma once

#include "runtime/context.h"

namespace mfl {

struct MoveRows {
  ConstView x;  // [R, C]  any row stride
  View y;       // [R, C]  any row stride; out
  GradMode mode = GradMode::overwrite;
};
void move_rows(const Stream&, const MoveRows&);

// Columns [first, first + count) of a tensor read as [rows of the last axis, C].
template <class V>
V columns(V v, std::int64_t first, std::int64_t count) {
  return slice(reshape(v, {v.shape.rows(), v.shape[-1]}), 1, first, count);
}

namespace cpu {
void move_rows(const MoveRows&);
}
namespace cuda {
void move_rows(const Stream&, const MoveRows&);
}

}  // namespace mfl
