// Scenes of Gaussians for tests and benchmarks: cameras on a ring, one Gaussian an input pixel plus two free ones, as
// the model makes them after training and before.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace mfl::test {

struct SplatScene {
  std::int64_t gaussians = 0, views = 0;
  int size = 0;                                                  // of the square images
  std::vector<float> xyz, features, scaling, rotation, opacity;  // as in models/gslrm/gaussians.h, SH degree 0
  std::vector<float> c2w, fxfycxcy;                              // of every view, inputs first
};

// Row-major camera to world of a camera that looks at the origin; world z is up. Angles in radians.
std::array<float, 16> ring_camera(double azimuth, double elevation, double radius);

enum class SceneKind {
  trained,      // pixels' Gaussians on a sphere of radius 0.6, small and mostly opaque; off it almost transparent
  initialised,  // near the rays' closest points to the origin, large and faint
};
// Six input cameras (radius 2.7, elevation 0.3, 60 degrees apart, field of view 50 degrees) and two targets between
// them.
SplatScene ring_scene(SceneKind, int size, std::uint64_t seed = 1);

}  // namespace mfl::test
