#include "kernels/loss/feature_distance.h"

#include <algorithm>

#include "kernels/common/dispatch.h"

namespace mfl {

void feature_distance_fwd(const Stream& s, const FeatureDistanceFwd& a) {
  MFL_CHECK(a.a && a.a.shape.rank() >= 1, "feature_distance_fwd: a is missing");
  check(s, "feature_distance_fwd", "a", a.a, a.a.shape, a.a.dtype);
  check(s, "feature_distance_fwd", "b", a.b, a.a.shape, a.a.dtype);
  check(s, "feature_distance_fwd", "head", a.head, {a.a.shape[-1]}, accum_of(a.a.dtype));
  if (a.loss_mode == GradMode::ignore) return;
  check(s, "feature_distance_fwd", "loss", a.loss, {1}, accum_of(a.a.dtype));
  if (s.device().is_cuda())
    check(s, "feature_distance_fwd", "scratch", a.scratch, {feature_distance_scratch(a.a.shape.rows())}, DType::f32);
  MFL_DISPATCH(s, feature_distance_fwd, a);
}

void feature_distance_bwd(const Stream& s, const FeatureDistanceBwd& a) {
  MFL_CHECK(a.a && a.a.shape.rank() >= 1, "feature_distance_bwd: a is missing");
  check(s, "feature_distance_bwd", "a", a.a, a.a.shape, a.a.dtype);
  check(s, "feature_distance_bwd", "b", a.b, a.a.shape, a.a.dtype);
  check(s, "feature_distance_bwd", "head", a.head, {a.a.shape[-1]}, accum_of(a.a.dtype));
  if (a.da_mode == GradMode::ignore) return;
  check(s, "feature_distance_bwd", "da", a.da, a.a.shape, a.a.dtype);
  MFL_DISPATCH(s, feature_distance_bwd, a);
}

std::int64_t feature_distance_scratch(std::int64_t rows) { return std::clamp<std::int64_t>((rows + 63) / 64, 1, 2048); }

}  // namespace mfl
