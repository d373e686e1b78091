#include "kernels/conv/pool.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void pool2x2_fwd(const Stream& s, const Pool2x2Fwd& a) {
  MFL_CHECK(a.x && a.x.shape.rank() == 4, "pool2x2_fwd: x ", a.x.shape, ", expected [N, H, W, C]");
  const Shape& x = a.x.shape;
  check(s, "pool2x2_fwd", "x", a.x, x, a.x.dtype);
  check(s, "pool2x2_fwd", "y", a.y, {x[0], x[1] / 2, x[2] / 2, x[3]}, a.x.dtype);
  MFL_DISPATCH(s, pool2x2_fwd, a);
}

void pool2x2_bwd(const Stream& s, const Pool2x2Bwd& a) {
  if (a.dx_mode == GradMode::ignore) return;
  MFL_CHECK(a.dx && a.dx.shape.rank() == 4, "pool2x2_bwd: dx ", a.dx.shape, ", expected [N, H, W, C]");
  const Shape& x = a.dx.shape;
  check(s, "pool2x2_bwd", "dx", a.dx, x, a.dx.dtype);
  check(s, "pool2x2_bwd", "dy", a.dy, {x[0], x[1] / 2, x[2] / 2, x[3]}, a.dx.dtype);
  if (a.kind == Pool::max) check(s, "pool2x2_bwd", "x", a.x, x, a.dx.dtype);
  MFL_DISPATCH(s, pool2x2_bwd, a);
}

}  // namespace mfl
