// share = (number of elements above a threshold) / n.
#pragma once

#include "runtime/context.h"

namespace mfl {

struct ShareAbove {
  ConstView x;            // any shape, f64 | f32
  double threshold = 0;
  View share;             // [1]  out, x's type
};
void share_above(const Stream&, const ShareAbove&);

namespace cpu {
void share_above(const ShareAbove&);
}
namespace cuda {
void share_above(const Stream&, const ShareAbove&);
}

}  // namespace mfl
