#include "kernels/elementwise/normal.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void fill_normal(const Stream& s, const FillNormal& a) {
  MFL_CHECK(a.x && a.x.shape.rank() >= 1, "fill_normal: x is missing");
  check(s, "fill_normal", "x", a.x, a.x.shape, a.x.dtype);
  check(s, "fill_normal", "streams", a.streams, {a.x.shape[0]}, DType::i32);
  MFL_DISPATCH(s, fill_normal, a);
}

}  // namespace mfl
