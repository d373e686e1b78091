// The exponential moving average of parameters: shadow -= (1 - decay) (shadow - value).        EMAModel of diffusers
//
//   Over flat buffers, alignment gaps included (they stay 0). decay 0 copies. The decay of update k is ema_decay(k)
//   (models/mvdiffusion/schedulers.h).
#pragma once

#include "runtime/context.h"

namespace mfl {

struct Ema {
  View shadow;      // [n]  f32 | f64; in and out
  ConstView value;  // [n]  the same type: the masters
  double decay = 0;
};
void ema(const Stream&, const Ema&);

namespace cpu {
void ema(const Ema&);
}
namespace cuda {
void ema(const Stream&, const Ema&);
}

}  // namespace mfl
