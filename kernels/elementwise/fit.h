// y takes x where x has the element, and 0 where it has not: every axis is cropped or zero-padded at its end.
//
//   Used to pad images at the right and bottom (the VAE's downsampling) and to widen heads to a size that attention has.
#pragma once

#include "runtime/context.h"

namespace mfl {

struct Fit {
  ConstView x;  // up to four axes, f64 | f32 | bf16
  View y;       // as many axes, of any sizes; x's type; out
};
void fit(const Stream&, const Fit&);

namespace cpu {
void fit(const Fit&);
}
namespace cuda {
void fit(const Stream&, const Fit&);
}

}  // namespace mfl
