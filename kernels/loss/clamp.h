// y = min(max(x, low), high), and the gradient of the clamp: zero outside, passed through at the bounds (torch.clamp).
//
//   Rendered images are clamped once, all image losses read y and add their gradients into one buffer, and clamp_bwd then
//   zeroes that buffer where x left the range.
#pragma once

#include "runtime/context.h"

namespace mfl {

struct ClampFwd {
  ConstView x;             // [..]  f64 | f32 | bf16
  double low = 0, high = 1;
  View y;                  // [..]  out, dtype of x; may be x
};
void clamp_fwd(const Stream&, const ClampFwd&);

// dx = dy where low <= x <= high, 0 elsewhere.
struct ClampBwd {
  ConstView x;             // [..]  before the clamp
  double low = 0, high = 1;
  ConstView dy;            // [..]  dtype of x
  View dx;                 // [..]  dtype of x; may be dy when it overwrites
  GradMode dx_mode = GradMode::overwrite;
};
void clamp_bwd(const Stream&, const ClampBwd&);

namespace cpu {
void clamp_fwd(const ClampFwd&);
void clamp_bwd(const ClampBwd&);
}  // namespace cpu
namespace cuda {
void clamp_fwd(const Stream&, const ClampFwd&);
void clamp_bwd(const Stream&, const ClampBwd&);
}  // namespace cuda

}  // namespace mfl
