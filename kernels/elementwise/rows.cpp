#include "kernels/elementwise/rows.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void add_row_vector(const Stream& s, const AddRowVector& a) {
  MFL_CHECK(a.x && a.x.shape.rank() == 2, "add_row_vector: x ", a.x.shape, ", expected [R, C]");
  check(s, "add_row_vector", "x", a.x, a.x.shape, a.x.dtype);
  check(s, "add_row_vector", "v", a.v, {a.x.shape[1]}, a.x.dtype);
  MFL_DISPATCH(s, add_row_vector, a);
}
void sum_rows(const Stream& s, const SumRows& a) {
  MFL_CHECK(a.x && a.x.shape.rank() == 2, "sum_rows: x ", a.x.shape, ", expected [R, C]");
  if (a.mode == GradMode::ignore) return;
  check(s, "sum_rows", "x", a.x, a.x.shape, a.x.dtype);
  check(s, "sum_rows", "sum", a.sum, {a.x.shape[1]}, a.x.dtype);
  MFL_DISPATCH(s, sum_rows, a);
}
void accumulate(const Stream& s, const Accumulate& a) {
  if (a.mode == GradMode::ignore) return;
  check(s, "accumulate", "x", a.x, a.y.shape, a.y.dtype);
  check(s, "accumulate", "y", a.y, a.y.shape, a.y.dtype);
  if (a.mode == GradMode::overwrite) return copy(s, a.x, a.y);
  MFL_DISPATCH(s, accumulate, a);
}

}  // namespace mfl
