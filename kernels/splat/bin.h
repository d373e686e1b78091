// CUDA: from splats to each tile's list of them, by depth, in chunks. Included by .cu files of this folder only.
//
// Splats of all views are sorted once by (view, depth); intersections are emitted in that order, so that a stable sort
// by tile number alone (13 bits for 8 views of 512x512) leaves every tile's list in depth order. A scene with more than
// `budget` intersections is cut into chunks of consecutive depths, and later chunks are emitted only for tiles that
// still have unfinished pixels.
#pragma once

#include "kernels/splat/rasterize.h"

namespace mfl::cuda {

class SplatBins {
 public:
  // Fills state.order and state.sorted.
  SplatBins(const Stream&, Arena&, const RasterizeFwd&, RasterizeState&);

  // Makes the next chunk. `open` [V * tiles] u8: tiles with unfinished pixels; not given for the first chunk, which is
  // always made, even if it is empty. False: nothing is left to draw. Waits for the stream: once to plan, once to
  // allocate.
  bool next(ConstView open, RasterizeState::Chunk&);
  // The chunk that was made last is the last one.
  bool finished() const { return finished_; }

 private:
  struct Header;
  Header read_header();
  const Stream& stream_;
  Arena& arena_;
  Tensor sorted_;
  Tensor sums_;    // [V * N] i64: inclusive sums of the rectangles' tiles, in sorted order
  Tensor starts_;  // [V + 1] i32: first place of a view
  Tensor header_;  // [4] i64: entries, tiles of their rectangles, entries after, open tiles
  Tensor spans_;   // of the chunk before
  std::int64_t views_, budget_;
  int tiles_x_, tiles_y_;
  bool finished_ = false;
};

}  // namespace mfl::cuda
