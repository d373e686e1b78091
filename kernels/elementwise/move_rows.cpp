#include "kernels/elementwise/move_rows.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void move_rows(const Stream& s, const MoveRows& a) {
  if (a.mode == GradMode::ignore) return;
  auto check_rows = [&](const char* name, const ConstView& v) {
    MFL_CHECK(v && v.shape.rank() == 2, "move_rows: ", name, ' ', v.shape, ", expected [R, C]");
    check_shape("move_rows", name, v, a.y.shape);
    check_dtype("move_rows", name, v, a.y.dtype);
    MFL_CHECK(v.shape[1] <= 1 || v.stride[1] == 1, "move_rows: the values of a row of ", name,
              " must be contiguous, their stride is ", v.stride[1]);
    MFL_CHECK(v.device == s.device(), "move_rows: ", name, " is on ", v.device, ", the stream on ", s.device());
  };
  check_rows("y", a.y);
  check_rows("x", a.x);
  MFL_DISPATCH(s, move_rows, a);
}

}  // namespace mfl
