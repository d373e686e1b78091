#include "kernels/loss/clamp.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void clamp_fwd(const Stream& s, const ClampFwd& a) {
  check(s, "clamp_fwd", "x", a.x, a.x.shape, a.x.dtype);
  check(s, "clamp_fwd", "y", a.y, a.x.shape, a.x.dtype);
  MFL_CHECK(a.low <= a.high, "clamp_fwd: low ", a.low, " is above high ", a.high);
  MFL_DISPATCH(s, clamp_fwd, a);
}

void clamp_bwd(const Stream& s, const ClampBwd& a) {
  check(s, "clamp_bwd", "x", a.x, a.x.shape, a.x.dtype);
  check(s, "clamp_bwd", "dy", a.dy, a.x.shape, a.x.dtype);
  if (a.dx_mode == GradMode::ignore) return;
  check(s, "clamp_bwd", "dx", a.dx, a.x.shape, a.x.dtype);
  MFL_DISPATCH(s, clamp_bwd, a);
}

}  // namespace mfl
