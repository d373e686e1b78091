// viewer.html: one page that shows a scene of Gaussians in any browser with WebGL2; it needs no other file and no
// network.
//
// The page (page/) is embedded when the library is built; the scene goes in as base64 of what pack.h says: 20 bytes a
// Gaussian at SH degree 0, 27 bytes of base64. It draws what kernels/splat draws: the same projection, dilation,
// cut-offs and blending. README.md of this folder says which words after # drive it from a test.
#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "models/gslrm/gaussians.h"

namespace mfl::gslrm {

struct ViewerOptions {
  std::string title = "Gaussians";           // shown in the page's corner and as the window's title
  std::vector<std::string> camera_names{};   // one a camera; none: "camera 1", "camera 2", ...
  std::array<float, 3> background{1, 1, 1};  // colour that the page begins with; 0 to 1
  std::array<float, 3> up{0, 0, 1};          // direction that stays upright while orbiting, world
  float scaling_modifier = 1;                // multiplies every scale, as in Renderer
};

// Host tensors, f32. The cameras (any number, also none) are shown as frusta; the first is where the page begins.
// Atomic; missing folders are made. The same arguments give the same bytes. Throws DataError.
void write_viewer(const std::filesystem::path&, const Gaussians&, const Cameras&, const ViewerOptions& = {});

}  // namespace mfl::gslrm
