#include "kernels/attention/softmax.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void softmax_fwd(const Stream& s, const SoftmaxFwd& a) {
  MFL_CHECK(a.x && a.x.shape.rank() >= 1 && a.x.shape[-1] > 0, "softmax_fwd: x ", a.x.shape, " must not be empty");
  check(s, "softmax_fwd", "x", a.x, a.x.shape, a.x.dtype);
  check(s, "softmax_fwd", "y", a.y, a.x.shape, a.y.dtype);
  MFL_CHECK(a.y.data != a.x.data || !a.y.data || a.y.dtype == a.x.dtype, "softmax_fwd: y in x's place must have its type");
  MFL_DISPATCH(s, softmax_fwd, a);
}

}  // namespace mfl
