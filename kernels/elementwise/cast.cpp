#include "kernels/elementwise/cast.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void cast(const Stream& s, const Cast& a) {
  MFL_CHECK(a.x, "cast: x is missing");
  check(s, "cast", "x", a.x, a.x.shape, a.x.dtype);
  check(s, "cast", "y", a.y, a.x.shape, a.y.dtype);
  MFL_DISPATCH(s, cast, a);
}

void add_(const Stream& s, const Add& a) {
  MFL_CHECK(a.y, "add_: y is missing");
  check(s, "add_", "y", a.y, a.y.shape, a.y.dtype);
  check(s, "add_", "x", a.x, a.y.shape, a.x.dtype);
  MFL_DISPATCH(s, add_, a);
}

void scale_(const Stream& s, const Scale& a) {
  MFL_CHECK(a.x, "scale_: x is missing");
  check(s, "scale_", "x", a.x, a.x.shape, a.x.dtype);
  MFL_DISPATCH(s, scale_, a);
}

void fill_(const Stream& s, const Fill& a) {
  MFL_CHECK(a.x, "fill_: x is missing");
  check(s, "fill_", "x", a.x, a.x.shape, a.x.dtype);
  MFL_DISPATCH(s, fill_, a);
}

}  // namespace mfl
