// How the pixel kernels are laid out: one block of 8 warps a tile, a warp on 8x4 pixels, a thread on one; splats of the tile's list
// in shared memory, each with a mask of the warps whose pixels it can reach.
#pragma once

#include "kernels/common/launch.cuh"
#include "kernels/splat/bin.h"
#include "kernels/splat/blend.cuh"

namespace mfl::cuda {

constexpr int kWarps = 8, kThreads = kWarps * 32;

// Where a block and a thread work.
struct Place {
  int view, tile_x, tile_y, x, y;
  std::int64_t pixel;  // in [V, H, W]
  bool inside;
};
__device__ inline Place place_of(int tiles_x, int tiles_y, int height, int width) {
  const int tiles = tiles_x * tiles_y, tile = int(blockIdx.x) % tiles, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  Place p;
  p.view = int(blockIdx.x) / tiles;
  p.tile_x = tile % tiles_x, p.tile_y = tile / tiles_x;
  p.x = p.tile_x * kSplatTile + (warp & 1) * 8 + (lane & 7);
  p.y = p.tile_y * kSplatTile + (warp >> 1) * 4 + (lane >> 3);
  p.inside = p.x < width && p.y < height;
  p.pixel = p.inside ? (std::int64_t(p.view) * height + p.y) * width + p.x : 0;
  return p;
}

// A splat in shared memory: a, c, opacity as weigh() takes them, the colour, and the mask of tile_parts().
struct SharedSplat {
  float4 a, b;  // b: c, opacity, r, g
  float blue;
  std::uint32_t parts;
};
__device__ inline SharedSplat prepare(const SortedSplat& s, int tile_x, int tile_y) {
  SharedSplat o;
  o.a = {s.a.x, s.a.y, -0.5f * kLog2e * s.a.z, -kLog2e * s.a.w};
  o.b = {-0.5f * kLog2e * s.b.x, s.b.y, s.b.z, s.b.w};
  o.blue = s.c.x;
  o.parts = tile_parts(ellipse_of(s), tile_x, tile_y);
  return o;
}

struct Grid {
  int tiles_x, tiles_y, height, width;
};
inline Grid grid_of(const Shape& image) {
  return {int(ceil_div(image[2], std::int64_t(kSplatTile))), int(ceil_div(image[1], std::int64_t(kSplatTile))),
          int(image[1]), int(image[2])};
}

template <class T>
T* raw(const Tensor& t) {
  return static_cast<T*>(View(t).data);
}
template <class T>
const T* raw_const(const Tensor& t) {
  return static_cast<const T*>(ConstView(t).data);
}

}  // namespace mfl::cuda
