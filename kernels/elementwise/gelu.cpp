#include "kernels/elementwise/gelu.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void gelu_fwd(const Stream& s, const GeluFwd& a) {
  MFL_CHECK(a.x, "gelu_fwd: x is missing");
  check(s, "gelu_fwd", "x", a.x, a.x.shape, a.x.dtype);
  check(s, "gelu_fwd", "y", a.y, a.x.shape, a.x.dtype);
  MFL_DISPATCH(s, gelu_fwd, a);
}

void gelu_bwd(const Stream& s, const GeluBwd& a) {
  if (a.dx_mode == GradMode::ignore) return;
  MFL_CHECK(a.x, "gelu_bwd: x is missing");
  check(s, "gelu_bwd", "x", a.x, a.x.shape, a.x.dtype);
  check(s, "gelu_bwd", "dy", a.dy, a.x.shape, a.x.dtype);
  check(s, "gelu_bwd", "dx", a.dx, a.x.shape, a.x.dtype);
  MFL_DISPATCH(s, gelu_bwd, a);
}

}  // namespace mfl
