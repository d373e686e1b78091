// 2x2 pooling of stride 2, channel-last: the maximum or the mean of each window. An odd last row or column is left out.
#pragma once

#include "runtime/context.h"

namespace mfl {

enum class Pool : std::uint8_t { max, average };

struct Pool2x2Fwd {
  ConstView x;             // [N, H, W, C]      f64 | f32 | bf16
  Pool kind = Pool::max;
  View y;                  // [N, H/2, W/2, C]  out, dtype of x
};
void pool2x2_fwd(const Stream&, const Pool2x2Fwd&);

// dx (mode): max: dy at the window's first maximum in scan order (rows, then columns, as PyTorch); average: dy / 4 at each.
// 0 at what no window covers.
struct Pool2x2Bwd {
  ConstView x;             // [N, H, W, C]      max only
  ConstView dy;            // [N, H/2, W/2, C]  dtype of x
  Pool kind = Pool::max;
  View dx;                 // [N, H, W, C]
  GradMode dx_mode = GradMode::overwrite;
};
void pool2x2_bwd(const Stream&, const Pool2x2Bwd&);

namespace cpu {
void pool2x2_fwd(const Pool2x2Fwd&);
void pool2x2_bwd(const Pool2x2Bwd&);
}  // namespace cpu
namespace cuda {
void pool2x2_fwd(const Stream&, const Pool2x2Fwd&);
void pool2x2_bwd(const Stream&, const Pool2x2Bwd&);
}  // namespace cuda

}  // namespace mfl
