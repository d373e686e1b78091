// Nearest-neighbour enlargement of channel-last feature maps by two: y[n, h, w, :] = x[n, h/2, w/2, :].
#pragma once

#include "runtime/context.h"

namespace mfl {

struct Upsample2xFwd {
  ConstView x;   // [N, H, W, C]    f64 | f32 | bf16
  View y;        // [N, 2H, 2W, C]  out, dtype of x
};
void upsample2x_fwd(const Stream&, const Upsample2xFwd&);

// dx[n, h, w, :] = the sum of dy over the four pixels that x[n, h, w, :] became.
struct Upsample2xBwd {
  ConstView dy;  // [N, 2H, 2W, C]
  View dx;       // [N, H, W, C]    dtype of dy
  GradMode dx_mode = GradMode::overwrite;
};
void upsample2x_bwd(const Stream&, const Upsample2xBwd&);

namespace cpu {
void upsample2x_fwd(const Upsample2xFwd&);
void upsample2x_bwd(const Upsample2xBwd&);
}  // namespace cpu
namespace cuda {
void upsample2x_fwd(const Stream&, const Upsample2xFwd&);
void upsample2x_bwd(const Stream&, const Upsample2xBwd&);
}  // namespace cuda

}  // namespace mfl
