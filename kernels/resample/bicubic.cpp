#include "kernels/resample/bicubic.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void resize_bicubic(const Stream& s, const ResizeBicubic& a) {
  const char* op = "resize_bicubic";
  MFL_CHECK(a.x && a.x.shape.rank() == 4 && a.x.numel() > 0, op, ": x ", a.x.shape, ", expected [N, H, W, C], not empty");
  MFL_CHECK(a.x.dtype == DType::f64 || a.x.dtype == DType::f32 || a.x.dtype == DType::u8, op, ": x is ", a.x.dtype,
            ", expected f64, f32 or u8");
  MFL_CHECK(a.y && a.y.shape.rank() == 4, op, ": y ", a.y.shape, ", expected [N, H', W', C]");
  const Shape &x = a.x.shape, &y = a.y.shape;
  check(s, op, "x", a.x, x, a.x.dtype);
  check(s, op, "rows", a.rows, {x[0], x[1], y[2], x[3]}, a.x.dtype);
  check(s, op, "y", a.y, {x[0], y[1], y[2], x[3]}, a.x.dtype == DType::u8 ? DType::f32 : a.x.dtype);
  MFL_DISPATCH(s, resize_bicubic, a);
}

}  // namespace mfl
