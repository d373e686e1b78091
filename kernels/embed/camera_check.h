// The check of a batch of cameras, shared by the ops that take one.
#pragma once

#include "kernels/common/dispatch.h"

namespace mfl {

// Contiguous but for the first axis, on the stream's device.
inline void check_batch(const Stream& s, const char* op, const char* name, const ConstView& v, const Shape& shape,
                        DType dtype) {
  check_shape(op, name, v, shape);
  check_dtype(op, name, v, dtype);
  MFL_CHECK(v.shape[0] == 0 || slice(v, 0, 0, 1).contiguous(), op, ": ", name, ' ', v.shape,
            " must be contiguous but for its first axis");
  MFL_CHECK(v.device == s.device(), op, ": ", name, " is on ", v.device, ", the stream on ", s.device());
}

// c2w [B, V, 4, 4] and fxfycxcy [B, V, 4], f32 or f64; returns {B, V}.
inline Shape check_cameras(const Stream& s, const char* op, const ConstView& c2w, const ConstView& fxfycxcy) {
  MFL_CHECK(c2w && c2w.shape.rank() == 4, op, ": c2w ", c2w.shape, ", expected [B, V, 4, 4]");
  MFL_CHECK(c2w.dtype == DType::f32 || c2w.dtype == DType::f64, op, ": c2w is ", c2w.dtype, ", expected f32 or f64");
  const std::int64_t b = c2w.shape[0], v = c2w.shape[1];
  check_batch(s, op, "c2w", c2w, {b, v, 4, 4}, c2w.dtype);
  check_batch(s, op, "fxfycxcy", fxfycxcy, {b, v, 4}, c2w.dtype);
  return {b, v};
}

inline void check_patch(const char* op, int patch, std::int64_t height, std::int64_t width) {
  MFL_CHECK(patch > 0 && height > 0 && width > 0 && height % patch == 0 && width % patch == 0, op, ": an image of ",
            height, " x ", width, " pixels does not divide into patches of ", patch);
}

}  // namespace mfl
