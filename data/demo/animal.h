// One animal: its body, coat, size and way. Everything follows from the seed.
#pragma once

#include <cstdint>

#include "data/demo/body.h"
#include "data/demo/coat.h"
#include "data/demo/walk.h"

namespace mfl::data::demo {

class Animal {
 public:
  // Walks for `seconds`; the mesh is as fine as `step` mm.
  Animal(double seconds, std::uint64_t seed, double step = 0.6);
  struct State {
    Pose pose;
    Surface surface;
    std::vector<V> shading_normals;   // the surface's, ruffled by the fur
    V centre;                         // of the body's volume
  };
  State at(double seconds) const;
  const Body& body() const { return body_; }
  const Coat& coat() const { return coat_; }

 private:
  std::uint64_t seed_;
  double size_;
  Walk walk_;
  Pose rest_;
  Body body_;
  Coat coat_;
};

}  // namespace mfl::data::demo
