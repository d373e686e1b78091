#include "kernels/loss/normalize_image.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void normalize_image_fwd(const Stream& s, const NormalizeImageFwd& a) {
  MFL_CHECK(a.image && a.image.shape.rank() == 4 && (a.image.shape[3] == 3 || a.image.shape[3] == 4),
            "normalize_image_fwd: image ", a.image.shape, ", expected [N, H, W, 3] or [N, H, W, 4]");
  MFL_CHECK(a.image.dtype == DType::f64 || a.image.dtype == DType::f32, "normalize_image_fwd: image is ", a.image.dtype,
            ", expected f64 or f32");
  check(s, "normalize_image_fwd", "image", a.image, a.image.shape, a.image.dtype);
  check(s, "normalize_image_fwd", "y", a.y, {a.image.shape[0], a.image.shape[1], a.image.shape[2], 3}, a.y.dtype);
  MFL_DISPATCH(s, normalize_image_fwd, a);
}

void normalize_image_bwd(const Stream& s, const NormalizeImageBwd& a) {
  MFL_CHECK(a.dy && a.dy.shape.rank() == 4 && a.dy.shape[3] == 3, "normalize_image_bwd: dy ", a.dy.shape,
            ", expected [N, H, W, 3]");
  check(s, "normalize_image_bwd", "dy", a.dy, a.dy.shape, a.dy.dtype);
  if (a.dimage_mode == GradMode::ignore) return;
  check(s, "normalize_image_bwd", "dimage", a.dimage, a.dy.shape, accum_of(a.dy.dtype));
  MFL_DISPATCH(s, normalize_image_bwd, a);
}

}  // namespace mfl
