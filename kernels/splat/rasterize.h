// Splats to pixels, front to back:   C = sum_i c_i alpha_i T_i + T_end * background,   T_i = prod_{j<i} (1 - alpha_j),
//   alpha_i = min(0.99, o_i exp(-1/2 (A dx^2 + C dy^2) - B dx dy)),  (dx, dy) = (u - px, v - py), px and py integers.
// A splat touches the pixels of its rectangle of 16x16 tiles; it is skipped where the exponent is positive or alpha is
// below 1/255; a pixel stops before the splat that would bring T below 1e-4. Order: view depth as f32, then index.
//
// Data-dependent sizes. The oracle needs none. On CUDA the intersections of splats with tiles are listed in one or more
// depth chunks of at most kRasterizeChunk, each one allocated exactly after its size has been read back to the host
// (two reads of a few bytes a chunk; most scenes are one chunk). Nothing is ever cut off: what does not fit the arena
// throws OutOfMemory. On the meta device the arena counts one full chunk.
#pragma once

#include <vector>

#include "runtime/context.h"

namespace mfl {

// u, v, conic A, B, C, opacity, r, g, b.
inline constexpr int kSplatSize = 9;
inline constexpr int kSplatTile = 16;
// Most intersections in one chunk, before exact culling. CUDA keeps 4 B for each from forward to backward, and 36 B for
// each of one chunk within backward.
inline constexpr std::int64_t kRasterizeChunk = std::int64_t{32} << 20;

// What backward needs. Made by rasterize_fwd; its insides belong to the device that made it.
struct RasterizeState {
  Tensor order;          // CPU [V, N] i32: Gaussians of a view by depth, -1 after the last one seen
                         // CUDA [V * N] i32: view * N + Gaussian by (view, depth), those not seen last
  Tensor sorted;         // [V * N, 9 (CPU) or 12 (CUDA)] splats in that order
  Tensor rects;          // [V, N] i32: their rectangles, CPU only
  Tensor last;           // [V, H, W] i32: one more than the place, in its list, of a pixel's last contributor
  Tensor transmittance;  // [V, H, W] T_end, CPU only
  struct Chunk {
    Tensor list;    // [intersections] i32: places in `sorted`, by tile, then depth
    Tensor ranges;  // [V * tiles, 2] i32: begin and end of a tile's part of the list
    Tensor spans;   // [V, 3] i32: first place and number of a view's splats in the chunk, and entries before them
    std::int64_t entries = 0, slots = 0;  // splats; tiles of the rectangles of those that are listed
  };
  std::vector<Chunk> chunks;
};

struct RasterizeFwd {
  ConstView splat;  // [V, N, 9]     f64 | f32
  ConstView depth;  // [V, N]        same type
  ConstView rect;   // [V, N]        i32, as in ProjectFwd; 0: not seen
  float background[3] = {1, 1, 1};
  View image;                            // [V, H, W, 3]  same type
  std::int64_t chunk = kRasterizeChunk;  // CUDA: most intersections in a chunk; the result does not depend on it
};
// `saved` null: nothing is kept.
void rasterize_fwd(const Stream&, Arena&, const RasterizeFwd&, RasterizeState* saved);

// With g the gradient of a pixel and S_i what the pixel receives from behind splat i, background included:
//   dc_i += alpha_i T_i g,   dalpha_i = T_i c_i.g - S_i.g / (1 - alpha_i);   min(0.99, .) passes the gradient.
struct RasterizeBwd {
  float background[3] = {1, 1, 1};
  ConstView image;   // [V, H, W, 3]  what forward wrote
  ConstView dimage;  // [V, H, W, 3]
  View dsplat;       // [V, N, 9]
  GradMode mode = GradMode::overwrite;
};
void rasterize_bwd(const Stream&, Arena&, const RasterizeBwd&, const RasterizeState&);

namespace cpu {
void rasterize_fwd(Arena&, const RasterizeFwd&, RasterizeState*);
void rasterize_bwd(const RasterizeBwd&, const RasterizeState&);
}  // namespace cpu
namespace cuda {
void rasterize_fwd(const Stream&, Arena&, const RasterizeFwd&, RasterizeState*);
void rasterize_bwd(const Stream&, Arena&, const RasterizeBwd&, const RasterizeState&);
}  // namespace cuda

}  // namespace mfl
