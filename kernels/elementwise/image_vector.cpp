#include "kernels/elementwise/image_vector.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void add_image_vector(const Stream& s, const AddImageVector& a) {
  MFL_CHECK(a.x && a.x.shape.rank() >= 2, "add_image_vector: x ", a.x.shape, ", expected [N, .., C]");
  check(s, "add_image_vector", "x", a.x, a.x.shape, a.x.dtype);
  check(s, "add_image_vector", "v", a.v, {a.x.shape[0], a.x.shape[-1]}, a.x.dtype);
  MFL_DISPATCH(s, add_image_vector, a);
}

void sum_image_vector(const Stream& s, const SumImageVector& a) {
  if (a.dv_mode == GradMode::ignore) return;
  MFL_CHECK(a.dx && a.dx.shape.rank() >= 2, "sum_image_vector: dx ", a.dx.shape, ", expected [N, .., C]");
  check(s, "sum_image_vector", "dx", a.dx, a.dx.shape, a.dx.dtype);
  check(s, "sum_image_vector", "dv", a.dv, {a.dx.shape[0], a.dx.shape[-1]}, a.dx.dtype);
  MFL_DISPATCH(s, sum_image_vector, a);
}

}  // namespace mfl
