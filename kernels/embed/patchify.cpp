#include "kernels/embed/patchify.h"

#include "kernels/embed/camera_check.h"

namespace mfl {
namespace {

void check_pair(const Stream& s, const char* op, const ConstView& image, const ConstView& patches, int patch) {
  MFL_CHECK(image && image.shape.rank() == 4, op, ": image ", image.shape, ", expected [N, H, W, C]");
  const std::int64_t h = image.shape[1], w = image.shape[2], p = patch;
  check_patch(op, patch, h, w);
  check(s, op, "image", image, image.shape, image.dtype);
  check(s, op, "patches", patches, {image.shape[0], (h / p) * (w / p), p * p * image.shape[3]}, patches.dtype);
}

}  // namespace

void patchify(const Stream& s, const Patchify& a) {
  if (a.mode == GradMode::ignore) return;
  check_pair(s, "patchify", a.image, a.patches, a.patch);
  MFL_DISPATCH(s, patchify, a);
}

void unpatchify(const Stream& s, const Unpatchify& a) {
  if (a.mode == GradMode::ignore) return;
  check_pair(s, "unpatchify", a.image, a.patches, a.patch);
  MFL_DISPATCH(s, unpatchify, a);
}

}  // namespace mfl
