// The way that an animal walks: a smooth random curve in the arena, by arc length.
#pragma once

#include <cstdint>
#include <vector>

#include "data/demo/vec.h"

namespace mfl::data::demo {

class Walk {
 public:
  // A walk of `seconds` about `centre`. The same seed gives the same way, however long it is walked.
  Walk(double seconds, V centre, std::uint64_t seed);

  double travelled(double seconds) const;   // arc length, mm
  struct Place {
    V point;                                // z = 0
    double heading = 0;                     // radians from +x towards +y, not wrapped
    V forward() const { return {std::cos(heading), std::sin(heading), 0}; }
    V left() const { return {-std::sin(heading), std::cos(heading), 0}; }
  };
  // Defined a body and a tail before the start and a stride after the end too.
  Place at(double arc_length) const;

 private:
  std::vector<Place> places_;               // every kStep of arc length, from -kBefore on
  std::vector<double> travelled_;           // every kTick
};

}  // namespace mfl::data::demo
