#include "kernels/elementwise/geglu.h"

#include "kernels/common/dispatch.h"

namespace mfl {
namespace {

// [R.., 2 C] to [R.., C].
Shape half(const char* op, const ConstView& x) {
  MFL_CHECK(x && x.shape.rank() >= 1 && x.shape[-1] % 2 == 0, op, ": x ", x.shape, ", expected [R.., 2 C]");
  Shape y = x.shape;
  y[-1] /= 2;
  return y;
}

}  // namespace

void geglu_fwd(const Stream& s, const GegluFwd& a) {
  const Shape y = half("geglu_fwd", a.x);
  check(s, "geglu_fwd", "x", a.x, a.x.shape, a.x.dtype);
  check(s, "geglu_fwd", "y", a.y, y, a.x.dtype);
  MFL_DISPATCH(s, geglu_fwd, a);
}

void geglu_bwd(const Stream& s, const GegluBwd& a) {
  if (a.dx_mode == GradMode::ignore) return;
  const Shape y = half("geglu_bwd", a.x);
  check(s, "geglu_bwd", "x", a.x, a.x.shape, a.x.dtype);
  check(s, "geglu_bwd", "dy", a.dy, y, a.x.dtype);
  check(s, "geglu_bwd", "dx", a.dx, a.x.shape, a.x.dtype);
  MFL_DISPATCH(s, geglu_bwd, a);
}

}  // namespace mfl
