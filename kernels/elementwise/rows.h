// A vector added to every row, and its gradient, the sum over rows.
#pragma once

#include "runtime/context.h"

namespace mfl {

// x[r, :] += v
struct AddRowVector {
  View x;                 // [R, C]  in and out
  ConstView v;            // [C]     x's type
};
void add_row_vector(const Stream&, const AddRowVector&);

// sum = sum_r x[r, :]. Zero rows give zero. Fixed order: one thread a column, rows in order.
struct SumRows {
  ConstView x;            // [R, C]
  View sum;               // [C]     x's type
  GradMode mode = GradMode::overwrite;
};
void sum_rows(const Stream&, const SumRows&);

// y = x, y += x, or nothing, by mode.
struct Accumulate {
  ConstView x;            // any shape
  View y;                 // the same shape and type
  GradMode mode = GradMode::overwrite;
};
void accumulate(const Stream&, const Accumulate&);

namespace cpu {
void add_row_vector(const AddRowVector&);
void sum_rows(const SumRows&);
void accumulate(const Accumulate&);
}  // namespace cpu
namespace cuda {
void add_row_vector(const Stream&, const AddRowVector&);
void sum_rows(const Stream&, const SumRows&);
void accumulate(const Stream&, const Accumulate&);
}  // namespace cuda

}  // namespace mfl
