#include "kernels/elementwise/silu.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void silu_fwd(const Stream& s, const SiluFwd& a) {
  MFL_CHECK(a.x, "silu_fwd: x is missing");
  check(s, "silu_fwd", "x", a.x, a.x.shape, a.x.dtype);
  check(s, "silu_fwd", "y", a.y, a.x.shape, a.x.dtype);
  MFL_DISPATCH(s, silu_fwd, a);
}

void silu_bwd(const Stream& s, const SiluBwd& a) {
  if (a.dx_mode == GradMode::ignore) return;
  MFL_CHECK(a.x, "silu_bwd: x is missing");
  check(s, "silu_bwd", "x", a.x, a.x.shape, a.x.dtype);
  check(s, "silu_bwd", "dy", a.dy, a.x.shape, a.x.dtype);
  check(s, "silu_bwd", "dx", a.dx, a.x.shape, a.x.dtype);
  MFL_DISPATCH(s, silu_bwd, a);
}

}  // namespace mfl
