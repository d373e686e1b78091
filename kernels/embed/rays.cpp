#include "kernels/embed/rays.h"

#include "kernels/embed/camera_check.h"

namespace mfl {

void tokenize(const Stream& s, const Tokenize& a) {
  const char* op = "tokenize";
  MFL_CHECK(a.image && a.image.shape.rank() == 5 && a.image.shape[4] >= 3, op, ": image ", a.image.shape,
            ", expected [B, V, H, W, 3 or more]");
  const Shape bv = check_cameras(s, op, a.c2w, a.fxfycxcy);
  const std::int64_t h = a.image.shape[2], w = a.image.shape[3], p = a.patch;
  check_batch(s, op, "image", a.image, {bv[0], bv[1], h, w, a.image.shape[4]}, a.c2w.dtype);
  check_patch(op, a.patch, h, w);
  check(s, op, "tokens", a.tokens, {bv[0], bv[1] * (h / p) * (w / p), p * p * channels_of(a.kind)}, a.tokens.dtype);
  MFL_DISPATCH(s, tokenize, a);
}

void camera_rays(const Stream& s, const Rays& a) {
  const char* op = "camera_rays";
  const Shape bv = check_cameras(s, op, a.c2w, a.fxfycxcy);
  check_patch(op, a.patch == 0 ? 1 : a.patch, a.height, a.width);
  const Shape out{bv[0], bv[1], std::int64_t{a.height} * a.width, 3};
  check(s, op, "origin", a.origin, out, a.c2w.dtype);
  check(s, op, "direction", a.direction, out, a.c2w.dtype);
  MFL_DISPATCH(s, camera_rays, a);
}

}  // namespace mfl
