#include "kernels/elementwise/bytes.h"

#include "kernels/common/dispatch.h"

namespace mfl {
namespace {

void check_real(const char* op, const char* name, DType t) {
  MFL_CHECK(t == DType::f64 || t == DType::f32, op, ": ", name, " is ", t, ", expected f64 or f32");
}

}  // namespace

void to_bytes(const Stream& s, const ToBytes& a) {
  check(s, "to_bytes", "x", a.x, a.x.shape, a.x.dtype);
  check(s, "to_bytes", "y", a.y, a.x.shape, DType::u8);
  check_real("to_bytes", "x", a.x.dtype);
  MFL_DISPATCH(s, to_bytes, a);
}

void from_bytes(const Stream& s, const FromBytes& a) {
  check(s, "from_bytes", "x", a.x, a.x.shape, DType::u8);
  check(s, "from_bytes", "y", a.y, a.x.shape, a.y.dtype);
  check_real("from_bytes", "y", a.y.dtype);
  MFL_DISPATCH(s, from_bytes, a);
}

}  // namespace mfl
