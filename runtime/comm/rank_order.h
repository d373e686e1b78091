// The arithmetic of every host reduction: element i of the result is the reduction of element i of all parts, in rank
// order. Accumulates one precision up: f64 for f64 and f32, f32 for bf16, i64 for integers; rounds once, when it
// stores. min and max of a NaN are NaN, so that no rank hides another's.
#pragma once

#include <span>

#include "runtime/comm/communicator.h"

namespace mfl {

// parts[r]: `count` elements of rank r. `out` may be one of the parts.
void reduce_in_rank_order(DType, ReduceOp, std::span<const void* const> parts, void* out, std::int64_t count);

// Elements [first, first + count) that rank r of `size` reduces when `total` elements are shared out.
struct Share {
  std::int64_t first, count;
};
Share share_of(std::int64_t total, int rank, int size);

}  // namespace mfl
