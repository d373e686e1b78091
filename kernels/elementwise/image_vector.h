// A vector of each image added to all of its pixels, and its gradient: the time embedding in a residual block.
//
//   N images, P pixels (the axes between the first and the last, flattened), C channels; f64 | f32 | bf16.
#pragma once

#include "runtime/context.h"

namespace mfl {

// x[n, p, c] += v[n, c]
struct AddImageVector {
  View x;               // [N, .., C]  in and out
  ConstView v;          // [N, C]      x's type
};
void add_image_vector(const Stream&, const AddImageVector&);

// dv[n, c] = sum_p dx[n, p, c]. Sums in f32 (f64 for f64), in a fixed order.
struct SumImageVector {
  ConstView dx;         // [N, .., C]
  View dv;              // [N, C]      dx's type; out
  GradMode dv_mode = GradMode::overwrite;
};
void sum_image_vector(const Stream&, const SumImageVector&);

namespace cpu {
void add_image_vector(const AddImageVector&);
void sum_image_vector(const SumImageVector&);
}  // namespace cpu
namespace cuda {
void add_image_vector(const Stream&, const AddImageVector&);
void sum_image_vector(const Stream&, const SumImageVector&);
}  // namespace cuda

}  // namespace mfl
