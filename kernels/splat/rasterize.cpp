#include "kernels/splat/rasterize.h"

#include <algorithm>

#include "kernels/common/dispatch.h"

namespace mfl {

void rasterize_fwd(const Stream& s, Arena& arena, const RasterizeFwd& a, RasterizeState* saved) {
  MFL_CHECK(a.splat && a.splat.shape.rank() == 3, "rasterize_fwd: splat must be [V, N, 9]");
  MFL_CHECK(a.image && a.image.shape.rank() == 4, "rasterize_fwd: image must be [V, H, W, 3]");
  MFL_CHECK(arena.device() == s.device(), "rasterize_fwd: the arena is on ", arena.device(), ", the stream on ",
            s.device());
  const DType t = a.splat.dtype;
  MFL_CHECK(t == DType::f32 || t == DType::f64, "rasterize_fwd: splat is ", t, ", expected f32 or f64");
  const std::int64_t views = a.splat.shape[0], n = a.splat.shape[1], height = a.image.shape[1],
                     width = a.image.shape[2];
  check(s, "rasterize_fwd", "splat", a.splat, {views, n, kSplatSize}, t);
  check(s, "rasterize_fwd", "depth", a.depth, {views, n}, t);
  check(s, "rasterize_fwd", "rect", a.rect, {views, n}, DType::i32);
  check(s, "rasterize_fwd", "image", a.image, {views, height, width, 3}, t);
  if (saved) *saved = {};
  if (s.device().is_meta()) {
    // The sizes of the CUDA implementation with one full chunk, in its order.
    const std::int64_t tiles = ((height + kSplatTile - 1) / kSplatTile) * ((width + kSplatTile - 1) / kSplatTile);
    const std::int64_t full = std::min(a.chunk, std::max<std::int64_t>(views * n * 4, 1 << 16));
    RasterizeState state;
    state.order = arena.empty({views * n}, DType::i32, {"splat order"});
    state.sorted = arena.empty({views * n, 12}, DType::f32, {"sorted splats"});
    state.last = arena.empty({views, height, width}, DType::i32, {"last contributor"});
    Tensor sums = arena.empty({views * n}, DType::i64, {"rectangle sums"});
    Tensor pixels = arena.empty({views, height, width, 4}, DType::f32, {"pixel state"});
    RasterizeState::Chunk& chunk = state.chunks.emplace_back();
    chunk.ranges = arena.empty({views * tiles, 2}, DType::i32, {"tile ranges"});
    chunk.spans = arena.empty({views, 3}, DType::i32, {"chunk spans"});
    chunk.entries = views * n, chunk.slots = full;
    chunk.list = arena.empty({full}, DType::i32, {"intersections"});
    Tensor sort = arena.empty({full, 12}, DType::u8, {"intersection sort"});
    if (saved) *saved = std::move(state);
    return;
  }
  if (s.device().is_cpu()) return cpu::rasterize_fwd(arena, a, saved);
#if MFL_WITH_CUDA
  cuda::rasterize_fwd(s, arena, a, saved);
#else
  throw_error<DeviceError>("rasterize_fwd: this build has no CUDA");
#endif
}

void rasterize_bwd(const Stream& s, Arena& arena, const RasterizeBwd& a, const RasterizeState& state) {
  MFL_CHECK(a.image && a.image.shape.rank() == 4, "rasterize_bwd: image must be [V, H, W, 3]");
  MFL_CHECK(state.sorted && state.last, "rasterize_bwd: the state is empty; forward must have been asked to save it");
  const DType t = a.image.dtype;
  const std::int64_t views = a.image.shape[0], n = state.sorted.shape()[0] / std::max<std::int64_t>(views, 1);
  check(s, "rasterize_bwd", "image", a.image, {views, a.image.shape[1], a.image.shape[2], 3}, t);
  check(s, "rasterize_bwd", "dimage", a.dimage, a.image.shape, t);
  MFL_CHECK(state.last.shape() == (Shape{views, a.image.shape[1], a.image.shape[2]}), "rasterize_bwd: image ",
            a.image.shape, ", the state was made for ", state.last.shape());
  if (a.mode == GradMode::ignore) return;
  check(s, "rasterize_bwd", "dsplat", a.dsplat, {views, n, kSplatSize}, t);
  if (s.device().is_meta()) {
    for (const RasterizeState::Chunk& c : state.chunks)
      Tensor slots = arena.empty({c.slots, kSplatSize}, DType::f32, {"intersection gradients"});
    return;
  }
  if (s.device().is_cpu()) return cpu::rasterize_bwd(a, state);
#if MFL_WITH_CUDA
  cuda::rasterize_bwd(s, arena, a, state);
#else
  throw_error<DeviceError>("rasterize_bwd: this build has no CUDA");
#endif
}

}  // namespace mfl
