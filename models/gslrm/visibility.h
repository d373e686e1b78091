// What of a scene nobody sees: Gaussians whose blending weight, over a set of cameras, stays under a threshold.
//
//   weight of Gaussian i in a pixel = alpha_i T_i (kernels/splat/rasterize.h); over all pixels of all cameras:
//   total_i = its sum (pixels), peak_i = its maximum.
#pragma once

#include <cstdint>
#include <vector>

#include "models/gslrm/gaussians.h"
#include "runtime/context.h"

namespace mfl::gslrm {

struct Visibility {
  std::vector<float> total, peak;  // [N] host
};

// Gaussians on the stream's device, f32; cameras on the host, f32. One camera after the other: memory does not grow with their
// number. The same bits at every call. Waits for the stream.
Visibility visibility(Ctx&, Arena& render_arena, const Gaussians&, const Cameras&, float scaling_modifier = 1);

// Of two sets of cameras: input views and an orbit, say, which differ in size.
Visibility joined(const Visibility&, const Visibility&);

struct PruneVisibility {
  double total = 0.1;        // pixels: keeps total >= it, ..
  double peak = 1.0 / 255;   // .. and peak >= it: less changes no pixel of 8 bits
};
// 1 for every Gaussian that is kept, [N], for select().
std::vector<std::uint8_t> visible_mask(const Visibility&, const PruneVisibility& = {});

}  // namespace mfl::gslrm
