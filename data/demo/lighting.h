// Light: a sun that is a small disc, and a sky. Both are sets of directions; for each, the surface is seen from there in
// parallel projection, and what lies behind it is in its shadow. Enough directions make soft shadows and ambient occlusion.
#pragma once

#include <vector>

#include "data/demo/vec.h"

namespace mfl::data::demo {

class Lighting {
 public:
  Lighting();
  // Casts shadows from here on. The points are dense: no farther apart than kTexel.
  void set_caster(const std::vector<V>& points);
  // Arriving light on a surface with this normal, linear RGB; 1 is full light. `bias`: how far away a caster must be, mm.
  V arriving(V point, V normal, double bias) const;
  V unshadowed(V normal) const;
  V sun() const { return sun_; }

  static constexpr double kTexel = 0.9;   // mm

 private:
  struct Direction {
    V to_light, across, up, colour;
    bool sky = false;
    double left = 0, low = 0;             // of the depth map
    int width = 0, height = 0;
    std::vector<float> depth;             // towards the light, of the first surface
  };
  double seen(const Direction&, V point, double bias) const;   // share of the direction that is open
  V sun_;
  std::vector<Direction> directions_;
};

}  // namespace mfl::data::demo
