#include "kernels/elementwise/share.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void share_above(const Stream& s, const ShareAbove& a) {
  MFL_CHECK(a.x && a.x.numel() > 0, "share_above: x is missing or empty");
  check(s, "share_above", "x", a.x, a.x.shape, accum_of(a.x.dtype));
  check(s, "share_above", "share", a.share, {1}, a.x.dtype);
  MFL_DISPATCH(s, share_above, a);
}

namespace cpu {
void share_above(const ShareAbove& a) {
  dispatch_float(a.x.dtype, [&](auto t) {
    using T = decltype(t);
    const T* x = a.x.as<T>();
    const std::int64_t n = a.x.numel();
    std::int64_t above = 0;
    for (std::int64_t i = 0; i < n; ++i) above += double(x[i]) > a.threshold;
    *a.share.as<T>() = T(double(above) / double(n));
  });
}
}  // namespace cpu

}  // namespace mfl
