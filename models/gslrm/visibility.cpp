#include "models/gslrm/visibility.h"

#include <algorithm>

#include "kernels/splat/contribution.h"
#include "models/gslrm/renderer.h"
#include "runtime/profile.h"

namespace mfl::gslrm {
namespace {

Tensor on_device(Ctx& cx, const Tensor& host) {
  Tensor d = cx.arena.empty(host.shape(), DType::f32, {"camera"});
  copy(cx.stream, host, d);
  return d;
}

}  // namespace

Visibility visibility(Ctx& cx, Arena& render_arena, const Gaussians& g, const Cameras& k, float scaling_modifier) {
  const Range range("visibility");
  const std::int64_t n = g.xyz.shape()[0], views = k.c2w.shape()[0];
  const auto count = static_cast<std::size_t>(n);
  Visibility all{std::vector<float>(count, 0.0f), std::vector<float>(count, 0.0f)};
  if (n == 0) return all;
  const Tensor total = Tensor::on_heap({n}, DType::f32), peak = Tensor::on_heap({n}, DType::f32);
  std::vector<double> sum(count, 0.0);
  for (std::int64_t v = 0; v < views; ++v) {
    const Cameras one{on_device(cx, k.c2w.rows(v, 1)), on_device(cx, k.fxfycxcy.rows(v, 1)), k.height, k.width};
    Tensor splat = render_arena.empty({1, n, kSplatSize}, DType::f32, {"splats"}),
           depth = render_arena.empty({1, n}, DType::f32, {"splat depth"}),
           rect = render_arena.empty({1, n}, DType::i32, {"splat rectangles"}),
           view_total = render_arena.empty({n}, DType::f32, {"contribution"}),
           view_peak = render_arena.empty({n}, DType::f32, {"contribution"});
    project_fwd(cx.stream, projection(g, one, scaling_modifier, splat, depth, rect));
    contribution_fwd(cx.stream, render_arena,
                     {.splat = splat, .depth = depth, .rect = rect, .height = k.height, .width = k.width, .total = view_total, .peak = view_peak});
    copy(cx.stream, view_total, total);
    copy(cx.stream, view_peak, peak);
    cx.stream.synchronize();
    for (std::size_t i = 0; i < count; ++i) {
      sum[i] += double(total.data<float>()[i]);
      all.peak[i] = std::max(all.peak[i], peak.data<float>()[i]);
    }
  }
  for (std::size_t i = 0; i < count; ++i) all.total[i] = static_cast<float>(sum[i]);
  return all;
}

Visibility joined(const Visibility& a, const Visibility& b) {
  MFL_CHECK(a.total.size() == b.total.size() && a.peak.size() == b.peak.size(), "joined: visibility of ", a.total.size(), " and of ",
            b.total.size(), " Gaussians");
  Visibility all = a;
  for (std::size_t i = 0; i < all.total.size(); ++i) all.total[i] += b.total[i], all.peak[i] = std::max(all.peak[i], b.peak[i]);
  return all;
}

std::vector<std::uint8_t> visible_mask(const Visibility& v, const PruneVisibility& limit) {
  std::vector<std::uint8_t> mask(v.total.size());
  for (std::size_t i = 0; i < mask.size(); ++i) mask[i] = double(v.total[i]) >= limit.total && double(v.peak[i]) >= limit.peak;
  return mask;
}

}  // namespace mfl::gslrm
