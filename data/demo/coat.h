// The animal's colours: dark back, pale belly, pink ears, tail and paws, black eyes, and patches that no other side has.
#pragma once

#include <cstdint>
#include <vector>

#include "data/demo/body.h"

namespace mfl::data::demo {

struct Coat {
  std::vector<V> colours;         // [vertex] linear reflectance
  std::vector<float> gloss;       // [vertex] 0 fur, 1 a wet eye
  std::vector<V> fur;             // [vertex] what the hairs add to the normal, at rest
};
// The seed chooses black, brown, grey or fawn fur, and the patches.
Coat make_coat(const Body&, std::uint64_t seed);

}  // namespace mfl::data::demo
