#include "kernels/optim/ema.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void ema(const Stream& s, const Ema& a) {
  MFL_CHECK(a.shadow && a.shadow.shape.rank() == 1, "ema: shadow ", a.shadow.shape, ", expected one axis");
  MFL_CHECK(a.shadow.dtype == DType::f32 || a.shadow.dtype == DType::f64, "ema: shadow is ", a.shadow.dtype,
            ", expected f32 or f64");
  MFL_CHECK(a.decay >= 0 && a.decay <= 1, "ema: decay ", a.decay, ", expected 0 to 1");
  check(s, "ema", "shadow", a.shadow, a.shadow.shape, a.shadow.dtype);
  check(s, "ema", "value", a.value, a.shadow.shape, a.shadow.dtype);
  MFL_DISPATCH(s, ema, a);
}

}  // namespace mfl
