#include "kernels/loss/ssim.h"

#include "kernels/loss/image_check.h"

namespace mfl {
namespace {

Shape maps_shape(const Shape& render) {
  return {3, render[0], render[1] - kSsimTaps + 1, render[2] - kSsimTaps + 1, 3};
}

void check_common(const Stream& s, const char* op, const ConstView& render, const ConstView& target, bool masked) {
  check_images(s, op, render, target, masked);
  MFL_CHECK(render.shape[1] >= kSsimTaps && render.shape[2] >= kSsimTaps, op, ": images of ", render.shape[1], " x ",
            render.shape[2], " pixels are smaller than the ", kSsimTaps, "-tap window");
}

}  // namespace

void ssim_fwd(const Stream& s, const SsimFwd& a) {
  check_common(s, "ssim_fwd", a.render, a.target, a.masked);
  check(s, "ssim_fwd", "loss", a.loss, {1}, a.render.dtype);
  check(s, "ssim_fwd", "ssim", a.ssim, {1}, a.render.dtype);
  if (a.maps) check(s, "ssim_fwd", "maps", a.maps, maps_shape(a.render.shape), a.render.dtype);
  if (s.device().is_cuda())
    check(s, "ssim_fwd", "scratch", a.scratch, {ssim_scratch(a.render.shape[0], a.render.shape[1], a.render.shape[2])},
          DType::f32);
  MFL_DISPATCH(s, ssim_fwd, a);
}

void ssim_bwd(const Stream& s, const SsimBwd& a) {
  check_common(s, "ssim_bwd", a.render, a.target, a.masked);
  check(s, "ssim_bwd", "ssim", a.ssim, {1}, a.render.dtype);
  check(s, "ssim_bwd", "maps", a.maps, maps_shape(a.render.shape), a.render.dtype);
  if (a.drender_mode == GradMode::ignore) return;
  check(s, "ssim_bwd", "drender", a.drender, a.render.shape, a.render.dtype);
  MFL_DISPATCH(s, ssim_bwd, a);
}

// One partial sum a 32 x 32 tile, channel and image.
std::int64_t ssim_scratch(std::int64_t images, std::int64_t height, std::int64_t width) {
  return images * 3 * ((height - kSsimTaps + 32) / 32) * ((width - kSsimTaps + 32) / 32);
}

}  // namespace mfl
