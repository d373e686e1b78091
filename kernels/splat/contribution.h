// What every Gaussian gives to the pictures: its blending weight alpha_i T_i, as rasterize_fwd blends it, over all pixels of all
// views:   total_i = sum_{v, p} alpha_i T_i,   peak_i = max_{v, p} alpha_i T_i;   0 where it is not seen.
// No gradient. On CUDA a warp's sum over its 32 pixels (fixed order) is added as a 64-bit integer of 2^-30 pixels, and the maximum
// is taken on the bits of positive floats: the order of the atomics cannot be seen in the result.
#pragma once

#include "kernels/splat/rasterize.h"

namespace mfl {

struct ContributionFwd {
  ConstView splat;  // [V, N, 9]     f64 | f32
  ConstView depth;  // [V, N]        same type
  ConstView rect;   // [V, N]        i32, as in ProjectFwd
  int height = 0, width = 0;
  View total;       // [N]           same type as splat, as is peak
  View peak;        // [N]
  std::int64_t chunk = kRasterizeChunk;  // as in RasterizeFwd
};
void contribution_fwd(const Stream&, Arena&, const ContributionFwd&);

namespace cpu {
void contribution_fwd(const ContributionFwd&);
}  // namespace cpu
namespace cuda {
void contribution_fwd(const Stream&, Arena&, const ContributionFwd&);
}  // namespace cuda

}  // namespace mfl
