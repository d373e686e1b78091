#include "kernels/attention/join.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void attention_join(const Stream& s, const AttentionJoin& a) {
  const char* op = "attention_join";
  MFL_CHECK(a.y && a.y.shape.rank() == 5 && a.y.shape[1] >= 2, op, ": y ", a.y.shape,
            ", expected [O, V, T, A, D] with two views or more");
  const Shape& y = a.y.shape;
  const std::int64_t objects = y[0], views = y[1], tokens = y[2], heads = y[3], others = (views - 1) * tokens;
  const DType t = a.y.dtype, accum = accum_of(t);
  check(s, op, "y", a.y, y, t);
  check(s, op, "y_a", a.y_a, y, t);
  check(s, op, "y_b", a.y_b, {objects, others, heads, y[4]}, t);
  check(s, op, "lse_a", a.lse_a, {objects, views, heads, tokens}, accum);
  check(s, op, "lse_b", a.lse_b, {objects, heads, others}, accum);
  check(s, op, "joined_a", a.joined_a, {objects, views, heads, tokens}, accum);
  check(s, op, "joined_b", a.joined_b, {objects, heads, others}, accum);
  MFL_DISPATCH(s, attention_join, a);
}

}  // namespace mfl
