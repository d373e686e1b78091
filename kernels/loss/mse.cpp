#include "kernels/loss/mse.h"

#include <algorithm>

#include "kernels/loss/image_check.h"

namespace mfl {

void mse_fwd(const Stream& s, const MseFwd& a) {
  check_images(s, "mse_fwd", a.render, a.target, a.pixels != PixelSet::all);
  check(s, "mse_fwd", "loss", a.loss, {1}, a.render.dtype);
  check(s, "mse_fwd", "count", a.count, {1}, a.render.dtype);
  if (s.device().is_cuda())
    check(s, "mse_fwd", "scratch", a.scratch, {mse_scratch(a.render.shape.rows())}, DType::f32);
  MFL_DISPATCH(s, mse_fwd, a);
}

void mse_bwd(const Stream& s, const MseBwd& a) {
  check_images(s, "mse_bwd", a.render, a.target, a.pixels != PixelSet::all);
  check(s, "mse_bwd", "count", a.count, {1}, a.render.dtype);
  if (a.drender_mode == GradMode::ignore) return;
  check(s, "mse_bwd", "drender", a.drender, a.render.shape, a.render.dtype);
  MFL_DISPATCH(s, mse_bwd, a);
}

std::int64_t mse_scratch(std::int64_t pixels) { return 2 * std::clamp<std::int64_t>((pixels + 1023) / 1024, 1, 1024); }

}  // namespace mfl
