// One camera's picture of one frame: the arena with the animal's shadow, the animal over it, and its mask.
#pragma once

#include <vector>

#include "data/demo/animal.h"
#include "data/demo/arena.h"
#include "data/image.h"

namespace mfl::data::demo {

// Light on every vertex, the same for all cameras.
std::vector<V> light_on(const Animal&, const Animal::State&, const Lighting&);

struct View {
  Image colour, mask;   // RGB sRGB; RGB grey, 255 times the share of the pixel's samples that see the animal
};
View render_view(const RawCamera&, const Picture& arena, const FloorShadow&, const Lighting&, const Animal&, const Animal::State&,
                 const std::vector<V>& light);

}  // namespace mfl::data::demo
