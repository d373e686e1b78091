#include "kernels/loss/l1.h"

#include <algorithm>

#include "kernels/common/dispatch.h"

namespace mfl {

void l1_fwd(const Stream& s, const L1Fwd& a) {
  check(s, "l1_fwd", "a", a.a, a.a.shape, a.a.dtype);
  check(s, "l1_fwd", "b", a.b, a.a.shape, a.a.dtype);
  if (a.loss_mode == GradMode::ignore) return;
  check(s, "l1_fwd", "loss", a.loss, {1}, accum_of(a.a.dtype));
  if (s.device().is_cuda()) check(s, "l1_fwd", "scratch", a.scratch, {l1_scratch(a.a.numel())}, DType::f32);
  MFL_DISPATCH(s, l1_fwd, a);
}

void l1_bwd(const Stream& s, const L1Bwd& a) {
  check(s, "l1_bwd", "a", a.a, a.a.shape, a.a.dtype);
  check(s, "l1_bwd", "b", a.b, a.a.shape, a.a.dtype);
  if (a.da_mode == GradMode::ignore) return;
  check(s, "l1_bwd", "da", a.da, a.a.shape, a.a.dtype);
  MFL_DISPATCH(s, l1_bwd, a);
}

std::int64_t l1_scratch(std::int64_t elements) { return std::clamp<std::int64_t>((elements + 4095) / 4096, 1, 1024); }

}  // namespace mfl
