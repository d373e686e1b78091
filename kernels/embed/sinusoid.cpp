#include "kernels/embed/sinusoid.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void sinusoid(const Stream& s, const Sinusoid& a) {
  MFL_CHECK(a.y && a.y.shape.rank() == 2 && a.y.shape[1] % 2 == 0, "sinusoid: y ", a.y.shape,
            ", expected [N, C] with an even C");
  MFL_CHECK(a.t.dtype == DType::f64 || a.t.dtype == DType::f32 || a.t.dtype == DType::i32, "sinusoid: t is ", a.t.dtype,
            ", expected f64, f32 or i32");
  check(s, "sinusoid", "t", a.t, {a.y.shape[0]}, a.t.dtype);
  check(s, "sinusoid", "y", a.y, a.y.shape, a.y.dtype);
  MFL_DISPATCH(s, sinusoid, a);
}

}  // namespace mfl
