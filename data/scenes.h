// Procedural multi-view scenes, made by us from a seed: a creature of ellipsoids and capsules with a patterned coat, under
// soft light that does not depend on the view, seen from FaceLift's ring (radius 2.7, world Z up, 50 degrees).
//
// Traced analytically, supersampled; RGBA with straight, anti-aliased alpha. The same bits for any number of threads.
#pragma once

#include "data/hdf5_file.h"

namespace mfl::data {

struct SceneOptions {
  int views = 8;
  int image_size = 64;
  std::uint64_t seed = 1;
  double elevation_degrees = 20;
  double radius = 2.7;
  double fov_degrees = 50;
};

// Scene `index` of the seed: name "scene_%06d", views "cam_%03d" at azimuth 360 k / views.
Sample make_scene(const SceneOptions&, std::int64_t index);

}  // namespace mfl::data
