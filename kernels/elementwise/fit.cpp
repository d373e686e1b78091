#include "kernels/elementwise/fit.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void fit(const Stream& s, const Fit& a) {
  MFL_CHECK(a.x && a.y && a.x.shape.rank() == a.y.shape.rank() && a.x.shape.rank() >= 1 && a.x.shape.rank() <= 4, "fit: x ",
            a.x.shape, " into y ", a.y.shape, ", expected the same number of axes, one to four");
  check(s, "fit", "x", a.x, a.x.shape, a.x.dtype);
  check(s, "fit", "y", a.y, a.y.shape, a.x.dtype);
  MFL_DISPATCH(s, fit, a);
}

}  // namespace mfl
