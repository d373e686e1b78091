// Smooth random functions for the demo: the same numbers for a seed, on any machine.
#pragma once

#include <cstdint>

#include "data/demo/vec.h"

namespace mfl::data::demo {

// Lattice noise in [-1, 1], trilinear over a smoothed cell of side 1.
double noise(V p, std::uint32_t seed);
// Sum of `octaves`, each half as strong and twice as fine; in about [-1, 1].
double fractal(V p, int octaves, std::uint32_t seed);
// The same in one variable.
inline double noise(double t, std::uint32_t seed) { return noise(V{t, 0.5, 0.5}, seed); }

}  // namespace mfl::data::demo
