#include "kernels/resample/upsample.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void upsample2x_fwd(const Stream& s, const Upsample2xFwd& a) {
  MFL_CHECK(a.x && a.x.shape.rank() == 4, "upsample2x_fwd: x ", a.x.shape, ", expected [N, H, W, C]");
  const Shape& x = a.x.shape;
  check(s, "upsample2x_fwd", "x", a.x, x, a.x.dtype);
  check(s, "upsample2x_fwd", "y", a.y, {x[0], 2 * x[1], 2 * x[2], x[3]}, a.x.dtype);
  MFL_DISPATCH(s, upsample2x_fwd, a);
}

void upsample2x_bwd(const Stream& s, const Upsample2xBwd& a) {
  if (a.dx_mode == GradMode::ignore) return;
  MFL_CHECK(a.dx && a.dx.shape.rank() == 4, "upsample2x_bwd: dx ", a.dx.shape, ", expected [N, H, W, C]");
  const Shape& x = a.dx.shape;
  check(s, "upsample2x_bwd", "dx", a.dx, x, a.dx.dtype);
  check(s, "upsample2x_bwd", "dy", a.dy, {x[0], 2 * x[1], 2 * x[2], x[3]}, a.dx.dtype);
  MFL_DISPATCH(s, upsample2x_bwd, a);
}

}  // namespace mfl
