// The value of a one-element view, wherever it lives.
#pragma once

#include "kernels/common/dispatch.h"

namespace mfl::test {

inline double host_value(const Stream& s, ConstView v) {
  double out = 0;
  dispatch_float(v.dtype, [&](auto t) {
    copy(s, v, make_view(&t, v.shape, v.dtype));
    s.synchronize();
    out = double(t);
  });
  return out;
}

}  // namespace mfl::test
