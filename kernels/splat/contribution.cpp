#include "kernels/splat/contribution.h"

#include "kernels/common/dispatch.h"

namespace mfl {

void contribution_fwd(const Stream& s, Arena& arena, const ContributionFwd& a) {
  MFL_CHECK(a.splat && a.splat.shape.rank() == 3, "contribution_fwd: splat must be [V, N, 9]");
  MFL_CHECK(a.height > 0 && a.width > 0, "contribution_fwd: pictures of ", a.height, " x ", a.width);
  MFL_CHECK(arena.device() == s.device(), "contribution_fwd: the arena is on ", arena.device(), ", the stream on ", s.device());
  const DType t = a.splat.dtype;
  MFL_CHECK(t == DType::f32 || t == DType::f64, "contribution_fwd: splat is ", t, ", expected f32 or f64");
  const std::int64_t views = a.splat.shape[0], n = a.splat.shape[1];
  check(s, "contribution_fwd", "splat", a.splat, {views, n, kSplatSize}, t);
  check(s, "contribution_fwd", "depth", a.depth, {views, n}, t);
  check(s, "contribution_fwd", "rect", a.rect, {views, n}, DType::i32);
  check(s, "contribution_fwd", "total", a.total, {n}, t);
  check(s, "contribution_fwd", "peak", a.peak, {n}, t);
  if (s.device().is_meta()) {  // beyond the lists of rasterize_fwd: the sums
    Tensor sums = arena.empty({n}, DType::i64, {"contribution sums"});
    return;
  }
  if (s.device().is_cpu()) return cpu::contribution_fwd(a);
#if MFL_WITH_CUDA
  cuda::contribution_fwd(s, arena, a);
#else
  throw_error<DeviceError>("contribution_fwd: this build has no CUDA");
#endif
}

}  // namespace mfl
